"""Stream tasks: notes, and what they say about a stop that met ``not found``. Pure."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop._core.constants import TASK_JOBS
from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory
from streamstop._core.stream_tasks import (
    DEFERRED,
    EarlierStop,
    Jobs,
    OpenJob,
    PendingStop,
    TaskNote,
    explain_not_found,
    fragment_of,
    note_key,
    stop_lanes,
)
from streamstop._wire.messages import celery_message, read_job
from streamstop.operations import OPERATIONS, Kind
from streamstop.outcomes import Result

LANE = Lane("live-cn", "live.StopMPUTask")
PARAMS: dict[str, Any] = {"AppId": "a", "TaskId": "t-1"}
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
NOTE = TaskNote(
    task_id="t-1",
    job_id="other",
    lane=LANE,
    params=PARAMS,
    kind=Kind.STOP,
    state=Result.STOPPED,
    in_doubt=False,
    at=AT,
)
FLYING = OpenJob("other", LANE, PARAMS, AttemptHistory(), in_flight=True)


def explained(*jobs: TaskNote | OpenJob) -> EarlierStop | PendingStop | None:
    notes = [job for job in jobs if isinstance(job, TaskNote)]
    return explain_not_found(
        Jobs(notes, [job for job in jobs if isinstance(job, OpenJob)]), "own", LANE, {"TaskId": "t-1", "AppId": "a"}
    )


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (Result.STOPPED, "job other had stopped it at 2026-01-02T03:04:05Z"),
        (Result.ALREADY_STOPPED, "job other had found it stopped at 2026-01-02T03:04:05Z"),
    ],
)
@pytest.mark.parametrize("operation", ["live.StopMPUTask", "live.StopLiveMPUTask"])
def test_a_stop_that_ended_well_explains_it_also_under_the_actions_other_name(
    result: Result, text: str, operation: str
) -> None:
    note = replace(NOTE, state=result, lane=Lane("live-cn", operation))
    assert explained(note) == EarlierStop("other", AT, result is Result.STOPPED)
    assert str(explained(note)) == text


def test_the_job_that_stopped_the_task_is_named_and_no_later_one_that_found_it_stopped() -> None:
    later = [replace(NOTE, job_id=f"later-{n}", state=Result.ALREADY_STOPPED) for n in (2, 1)]
    assert explained(*later, NOTE) == EarlierStop("other", AT)
    assert explained(*later) == EarlierStop("later-2", AT, has_stopped=False)


@pytest.mark.parametrize(
    "other",
    [
        replace(NOTE, job_id="own"),
        replace(NOTE, state=Result.NOT_FOUND),
        replace(NOTE, state=Result.REFUSED),
        replace(NOTE, state=Result.CANCELLED),
        replace(NOTE, state=DEFERRED),
        replace(NOTE, state="a result of a newer worker"),
        replace(NOTE, params={**PARAMS, "AppId": "b"}),
        replace(NOTE, lane=Lane("live-eu", LANE.operation)),
        replace(NOTE, lane=Lane("live-cn", "rtc.StopMPUTask")),
        replace(NOTE, lane=Lane("live-cn", "live.GetMPUTaskStatus"), kind=Kind.STATUS, state=Result.STATUS),
        replace(FLYING, job_id="own"),
        replace(FLYING, params={**PARAMS, "TaskId": "t-2"}),
        replace(FLYING, in_flight=False),
    ],
)
def test_other_jobs_explain_nothing(other: TaskNote | OpenJob) -> None:
    assert explained(other) is None


@pytest.mark.parametrize("state", [DEFERRED, Result.GAVE_UP, Result.EXPIRED, Result.CANCELLED])
def test_a_stop_whose_answer_was_lost_explains_it(state: str) -> None:
    assert explained(replace(NOTE, state=state, in_doubt=True)) == EarlierStop("other", None)
    assert "job other may have stopped it" in str(explained(replace(NOTE, state=state, in_doubt=True)))


@pytest.mark.parametrize("history", [AttemptHistory(in_doubt=True), AttemptHistory(lost_deliveries=1)])
@pytest.mark.parametrize("in_flight", [True, False])
def test_an_open_job_whose_answer_was_lost_explains_it(history: AttemptHistory, *, in_flight: bool) -> None:
    assert explained(replace(FLYING, history=history, in_flight=in_flight)) == EarlierStop("other", None)


def test_a_job_in_flight_may_be_stopping_the_task_right_now() -> None:
    assert explained(FLYING) == PendingStop("other")
    assert explained(FLYING, replace(NOTE, job_id="third", state=Result.NOT_FOUND)) == PendingStop("other")


def test_what_is_certain_goes_before_what_is_not() -> None:
    doubt = replace(NOTE, job_id="doubt", state=DEFERRED, in_doubt=True)
    assert explained(FLYING, doubt, NOTE) == EarlierStop("other", AT)
    assert explained(FLYING, doubt) == EarlierStop("doubt", None)


def test_only_a_jobs_latest_note_counts() -> None:
    assert explained(replace(NOTE, state=Result.REFUSED), replace(NOTE, state=DEFERRED, in_doubt=True)) is None


def test_a_lane_without_a_status_operation_stops_its_tasks_alone() -> None:
    assert stop_lanes(Lane("trtc", "trtc.StopWebRecord")) == (Lane("trtc", "trtc.StopWebRecord"),)
    assert stop_lanes(Lane("x", "no.Such")) == (Lane("x", "no.Such"),)


def test_each_stop_names_its_stream_task() -> None:
    for declaration in OPERATIONS.values():
        names = {field.alias for field in declaration.model_fields.values()}
        single = declaration.spec.kind is Kind.STOP or declaration.spec.status is not None
        assert declaration.spec.task in names or not single, declaration.spec.id


#: What a parameter can hold: no control characters and no halves of surrogate pairs.
IDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=255)


@given(IDS, st.sampled_from([*Result, DEFERRED]), st.booleans(), st.one_of(st.none(), st.just("shutdown")))
def test_a_note_reads_what_it_wrote(task_id: str, state: str, in_doubt: bool, shutdown: str | None) -> None:
    note = replace(
        NOTE, task_id=task_id, job_id=f"job\n{task_id}", params={"TaskId": task_id, "SdkAppId": 1}, state=state
    )
    note = replace(note, in_doubt=in_doubt, shutdown=shutdown, at=AT + timedelta(microseconds=1))
    assert TaskNote.parse(task_id, str(note)) == note
    assert TaskNote.parse(task_id, f"{note}\nof a newer worker") == note


@pytest.mark.parametrize("text", ["", "stop", "stop\nx\nl\n{}\nstopped 0 1\n", 'move\n"x"\nl\n{}\nstopped 0 1\n'])
def test_a_note_that_nobody_wrote_is_none(text: str) -> None:
    assert TaskNote.parse("t", text) is None


@given(IDS)
def test_the_key_of_a_task_is_short_and_its_fragment_is_in_every_message(task_id: str) -> None:
    key = note_key(task_id)
    assert len(key) <= len(TASK_JOBS) + 64
    assert key.isascii()
    assert key.isprintable()
    argument = {"v": 1, "params": {"TaskId": task_id}}
    message = celery_message("job", LANE, argument)
    assert fragment_of(task_id) in message
    assert read_job(message) == ("job", argument)


def test_the_keys_of_two_tasks_differ() -> None:
    long = "x" * 255
    assert len({note_key(task_id) for task_id in ("t", "T", "t ", long, long + "y", "#t", "任务")}) == 7
    assert note_key("t-1") == f"{TASK_JOBS}t-1"
