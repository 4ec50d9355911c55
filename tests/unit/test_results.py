"""Records: what is written of a job can be read again, and the scripts can tell what has ended."""

import json
from datetime import UTC, datetime
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop.outcomes import Outcome, Result, State, Status
from streamstop.results import Deferral, deferral_record, outcome_record, read_record

JOB_ID = "live-cn.live.StopMPUTask.1"
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # naive bounds
TEXTS = st.none() | st.text(st.characters(codec="utf-8"), max_size=50)
JSON_OBJECTS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=5),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=4,
    ),
    max_size=3,
)
OUTCOMES = st.builds(
    Outcome,
    result=st.sampled_from(Result),
    job_id=st.just(JOB_ID),
    operation=st.just("live.StopMPUTask"),
    account=st.just("live-cn"),
    code=TEXTS,
    message=TEXTS,
    request_id=TEXTS,
    attempts=st.integers(0, 10**6),
    calls=st.integers(0, 10**6),
    enqueued_at=st.none() | MOMENTS,
    ended_at=st.none() | MOMENTS,
    status=st.none()
    | st.builds(Status, raw=st.integers() | st.text("abc"), state=st.sampled_from(State), over=st.booleans()),
    reply=st.none() | JSON_OBJECTS,
)


def outcome(result: Result) -> Outcome:
    return Outcome(
        result=result,
        job_id=JOB_ID,
        operation="live.StopMPUTask",
        account="live-cn",
        code="Throttling.User",
        message="Request was denied.",
        ended_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@given(OUTCOMES)
def test_an_outcome_that_is_recorded_is_read_as_it_was(written: Outcome) -> None:
    record = outcome_record(written)
    assert read_record(record) == written
    assert read_record(record.encode()) == written


def test_a_status_without_a_value_is_read_as_it_was() -> None:
    written = outcome(Result.STATUS).model_copy(update={"status": Status(raw=None, state=State.UNKNOWN, over=False)})
    assert read_record(outcome_record(written)) == written


@given(TEXTS.map(lambda text: text or ""), MOMENTS)
def test_a_deferral_that_is_recorded_is_read_as_it_was(reason: str, due: datetime) -> None:
    assert read_record(deferral_record(JOB_ID, Deferral(reason, due))) == Deferral(reason, due)


STATES = {
    Result.STOPPED: "SUCCESS",
    Result.ALREADY_STOPPED: "SUCCESS",
    Result.STATUS: "SUCCESS",
    Result.VERIFIED: "SUCCESS",
    Result.UNVERIFIABLE: "SUCCESS",
    Result.NOT_FOUND: "FAILURE",
    Result.REFUSED: "FAILURE",
    Result.GAVE_UP: "FAILURE",
    Result.EXPIRED: "FAILURE",
    Result.NOT_VERIFIED: "FAILURE",
    Result.CANCELLED: "REVOKED",
}


@pytest.mark.parametrize("result", Result)
def test_each_result_has_its_state_in_celery(result: Result) -> None:
    record = json.loads(outcome_record(outcome(result)))
    assert (record["status"], record["task_id"]) == (STATES[result], JOB_ID)
    assert record["date_done"] == "2026-01-01T00:00:00+00:00"


def test_the_scripts_tell_a_deferred_jobs_record_by_its_first_characters() -> None:
    prelude = (resources.files("streamstop.lanes") / "scripts" / "_lane.lua").read_text()
    beginning = '{"status": "RETRY"'
    assert f"string.sub(record, 1, {len(beginning)}) ~= '{beginning}'" in prelude
    assert deferral_record(JOB_ID, Deferral("", datetime.now(UTC))).startswith(beginning)
    assert not any(outcome_record(outcome(result)).startswith(beginning) for result in Result)


@pytest.mark.parametrize(
    "record",
    [
        '{"status": "PENDING", "result": null}',
        '{"status": "SUCCESS", "result": 5}',
        '{"status": "SUCCESS", "result": {"of": "another task"}}',
        '{"status": "FAILURE", "result": {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}}',
        "{}",
        "[]",
    ],
)
def test_a_record_that_is_not_ours_says_nothing(record: str) -> None:
    assert read_record(record) is None


def test_an_outcome_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    record = json.loads(outcome_record(outcome(Result.STOPPED)))
    record["result"]["new_field"] = 1
    read = read_record(json.dumps(record))
    assert isinstance(read, Outcome)
    assert read.result is Result.STOPPED
