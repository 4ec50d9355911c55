"""Records: a job's record can be read again, and the scripts can tell whether the job has ended."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop._core.constants import RETRY_RECORD
from streamstop._wire.results import deferral_record, outcome_record, read_record, step_record
from streamstop.outcomes import Deferral, Outcome, Result, State, Status

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
    # Ids of ours, of another producer, and such as name a lane that is not the job's.
    job_id=st.sampled_from([JOB_ID, "a8098c1a-f86e-11da-bd1a-00112444be1e", "other.live.StopMPUTask.1", "", "."]),
    operation=st.sampled_from(["live.StopMPUTask", "unknown", ""]),
    account=st.sampled_from(["live-cn", "unknown", ""]),
    params=st.none() | JSON_OBJECTS,
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


@st.composite
def records_of_before(draw: st.DrawFn) -> tuple[Outcome, str]:
    """Return an outcome, and its record as versions wrote it that wrote every field twice."""
    written = draw(OUTCOMES)
    data = written.model_dump(mode="json", exclude_none=True)
    failed = {"exc_type": "JobFailed", "exc_module": "streamstop.errors", "exc_message": [data]}
    record: dict[str, object] = {
        "status": STATES[written.result],
        "result": data if written.ok else failed,
        "traceback": None,
        "children": [],
        "date_done": None if written.ended_at is None else written.ended_at.isoformat(),
        "task_id": written.job_id,
    }
    return written, json.dumps(record)


@given(OUTCOMES)
def test_an_outcome_that_is_recorded_is_read_as_it_was(written: Outcome) -> None:
    record = outcome_record(written)
    assert read_record(record) == written
    assert read_record(record.encode()) == written


@given(records_of_before())
def test_a_record_of_an_earlier_version_is_read(of_before: tuple[Outcome, str]) -> None:
    written, record = of_before
    assert read_record(record) == written


@given(OUTCOMES)
def test_a_record_of_one_of_our_jobs_needs_no_lane_in_its_result(written: Outcome) -> None:
    written = written.model_copy(update={"job_id": JOB_ID, "operation": "live.StopMPUTask", "account": "live-cn"})
    record = json.loads(outcome_record(written))
    for name in ("job_id", "operation", "account"):
        del said_in(record)[name]
    assert read_record(json.dumps(record)) == written


def test_a_status_without_a_value_is_read_as_it_was() -> None:
    written = outcome(Result.STATUS).model_copy(update={"status": Status(raw=None, state=State.UNKNOWN, over=False)})
    assert read_record(outcome_record(written)) == written


@given(TEXTS.map(lambda text: text or ""), MOMENTS)
def test_a_deferral_that_is_recorded_is_read_as_it_was(reason: str, due: datetime) -> None:
    assert read_record(deferral_record(JOB_ID, Deferral(reason, due))) == Deferral(reason, due)


def said_in(record: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a parsed record that is the outcome."""
    result: dict[str, Any] = record["result"]
    return result["exc_message"][0] if "exc_message" in result else result


WHOLE = Outcome(
    result=Result.STOPPED,
    job_id="live-cn.live.StopMPUTask.5f0c",
    operation="live.StopMPUTask",
    account="live-cn",
    params={"AppId": "a", "TaskId": "t"},
    request_id="CD4A",
    attempts=1,
    calls=2,
    enqueued_at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
    ended_at=datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
)
NOT_FOUND = WHOLE.model_copy(update={"result": Result.NOT_FOUND, "code": "CodeTaskNotExist", "message": "no task"})
CANCELLED = WHOLE.model_copy(update={"result": Result.CANCELLED})
DEFERRAL = Deferral("ServiceUnavailable", datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC))
_SAID = (
    '"job_id": "live-cn.live.StopMPUTask.5f0c", "operation": "live.StopMPUTask", "account": "live-cn", '
    '"params": {"AppId": "a", "TaskId": "t"}, %s"request_id": "CD4A", "attempts": 1, "calls": 2, '
    '"enqueued_at": "2026-01-02T03:04:05.678901Z", "ended_at": "2026-01-02T03:04:06Z"}'
)
_AROUND = (
    '"traceback": null, "children": [], "date_done": "2026-01-02T03:04:06+00:00", '
    '"task_id": "live-cn.live.StopMPUTask.5f0c"}'
)
#: Letter for letter as the version before this shape wrote them; a Redis has them until they expire.
OF_BEFORE = {
    "stopped": (WHOLE, '{"status": "SUCCESS", "result": {"result": "stopped", ' + _SAID % "" + ", " + _AROUND),
    "not found": (
        NOT_FOUND,
        '{"status": "FAILURE", "result": {"exc_type": "JobFailed", "exc_module": "streamstop.errors", "exc_message": '
        '[{"result": "not_found", ' + _SAID % '"code": "CodeTaskNotExist", "message": "no task", ' + "]}, " + _AROUND,
    ),
    "cancelled": (
        CANCELLED,
        '{"status": "REVOKED", "result": {"exc_type": "JobFailed", "exc_module": "streamstop.errors", "exc_message": '
        '[{"result": "cancelled", ' + _SAID % "" + "]}, " + _AROUND,
    ),
    "deferred": (
        DEFERRAL,
        '{"status": "RETRY", "result": {"exc_type": "JobDeferred", "exc_module": "streamstop.errors", "exc_message": '
        '["ServiceUnavailable", "2026-01-02T03:04:06+00:00"]}, "traceback": null, "children": [], "date_done": null, '
        '"task_id": "live-cn.live.StopMPUTask.5f0c"}',
    ),
    "step": (None, '{"status": "SUCCESS", "result": {"step": "fan_out"}, ' + _AROUND),
}


@pytest.mark.parametrize(("said", "record"), OF_BEFORE.values(), ids=OF_BEFORE.keys())
def test_records_of_the_earlier_version_are_read(said: Outcome | Deferral | None, record: str) -> None:
    assert read_record(record) == said


_SAID_NOW = (
    '"job_id":"live-cn.live.StopMPUTask.5f0c","operation":"live.StopMPUTask","account":"live-cn",'
    '"params":{"AppId":"a","TaskId":"t"},%s"request_id":"CD4A","attempts":1,"calls":2,'
    '"enqueued_at":"2026-01-02T03:04:05.678901Z"}'
)
_AROUND_NOW = '"task_id":"live-cn.live.StopMPUTask.5f0c","date_done":"2026-01-02T03:04:06+00:00"}'


def test_records_hold_what_earlier_producers_and_celery_need_without_other_duplicates() -> None:
    """The version before reads an outcome that has result, job_id, operation and account, and takes the rest as it is.

    Whoever changes these texts asks first whether producers that are out there, and Celery, read them still.
    """
    failed = '"result":{"exc_type":"JobFailed","exc_module":"streamstop.errors","exc_message":[{"result":'
    assert outcome_record(WHOLE) == (
        '{"status": "SUCCESS","result":{"result":"stopped",' + _SAID_NOW % "" + "," + _AROUND_NOW
    )
    assert outcome_record(NOT_FOUND) == (
        '{"status": "FAILURE",'
        + failed
        + '"not_found",'
        + _SAID_NOW % '"code":"CodeTaskNotExist","message":"no task",'
        + "]},"
        + _AROUND_NOW
    )
    assert outcome_record(CANCELLED) == (
        '{"status": "REVOKED",' + failed + '"cancelled",' + _SAID_NOW % "" + "]}," + _AROUND_NOW
    )
    assert deferral_record(WHOLE.job_id, DEFERRAL) == (
        '{"status": "RETRY","result":{"exc_type":"JobDeferred","exc_module":"streamstop.errors","exc_message":'
        '["ServiceUnavailable","2026-01-02T03:04:06+00:00"]},"task_id":"live-cn.live.StopMPUTask.5f0c"}'
    )
    assert step_record(WHOLE.job_id, "fan_out", DEFERRAL.due) == (
        '{"status": "SUCCESS","result":{"step":"fan_out"},' + _AROUND_NOW
    )


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
    assert deferral_record(JOB_ID, Deferral("", datetime.now(UTC))).startswith(RETRY_RECORD)
    assert not any(outcome_record(outcome(result)).startswith(RETRY_RECORD) for result in Result)
    assert not step_record(JOB_ID, "RETRY", datetime.now(UTC)).startswith(RETRY_RECORD)


@given(OUTCOMES)
def test_no_record_of_a_job_that_has_ended_begins_as_a_deferred_ones(written: Outcome) -> None:
    assert not outcome_record(written).startswith('{"status": "RETRY"')


@pytest.mark.parametrize(
    "record",
    [
        '{"status": "PENDING", "result": null}',
        '{"status": "SUCCESS", "result": 5}',
        '{"status": "SUCCESS", "result": {"of": "another task"}}',
        '{"status": "SUCCESS", "result": {"result": "stopped"}, "task_id": "a8098c1a-f86e-11da-bd1a-00112444be1e"}',
        '{"status": "SUCCESS", "result": {"result": "stopped"}, "task_id": 5}',
        '{"status": "SUCCESS", "result": {"result": "stopped"}}',
        '{"status": "SUCCESS", "result": {"result": "of another task"}, "task_id": "a.live.StopMPUTask.1"}',
        '{"status": "FAILURE", "result": {"exc_type": "JobFailed", "exc_message": ["text"]}}',
        '{"status": "FAILURE", "result": {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}}',
        "{}",
        "[]",
    ],
)
def test_a_record_that_is_not_ours_says_nothing(record: str) -> None:
    assert read_record(record) is None


def test_an_outcome_of_a_newer_version_is_read_as_far_as_possible() -> None:
    record = json.loads(outcome_record(outcome(Result.STOPPED)))
    record["result"]["new_field"] = 1
    read = read_record(json.dumps(record))
    assert isinstance(read, Outcome)
    assert read.result is Result.STOPPED
