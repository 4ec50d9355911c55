"""What a worker counts as a vendor's error: every answer with a code that is no success, and faults of the network."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from streamstop import ErrorCount, EventKind, Outcome, Result
from streamstop._core.constants import ERROR_COUNTS
from streamstop._redis.journal import Journal
from tests.support.pipeline import Pipeline, fault


def counted(bench: Pipeline) -> list[ErrorCount]:
    return Journal(bench.redis).errors(since=timedelta(minutes=30))


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (fault("Throttling.User", 400), "Throttling.User", "m"),
        (fault("InternalError"), "InternalError", "m"),
        (fault("InvalidParameter", 400), "InvalidParameter", "m"),
        (fault("SignatureNonceUsed", 400), "SignatureNonceUsed", "m"),
        (fault("CodeTaskNotExist", 400), "CodeTaskNotExist", "m"),
        (httpx.ConnectTimeout("late"), "ConnectTimeout", None),
        (httpx.Response(502, text="<html>"), "HTTP 502", None),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_an_answer_that_is_no_success_is_counted_by_its_code(
    bench: Pipeline, answer: Any, code: str, message: str | None
) -> None:
    bench.answers = [answer]
    delivery = bench.publish()
    bench.execute(delivery)
    (count,) = counted(bench)
    lane = delivery.taken.lane
    assert (count.account, count.operation, count.code, count.count) == (lane.account, lane.operation, code, 1)
    if message is not None:
        assert (count.message, count.request_id) == (message, "r")


@pytest.mark.parametrize("answer", [httpx.Response(200, json={"RequestId": "r"}), fault("CodeTaskHasStopped", 400)])
def test_a_success_is_not_counted_whatever_its_code(bench: Pipeline, answer: httpx.Response) -> None:
    bench.answers = [answer]
    outcome = bench.execute(bench.publish())
    assert isinstance(outcome, Outcome)
    assert outcome.ok
    assert list(bench.redis.scan_iter(f"{ERROR_COUNTS}*")) == []


def test_a_task_that_an_unanswered_stop_had_ended_is_no_error(bench: Pipeline) -> None:
    bench.answers = [httpx.Response(502, text="<html>"), fault("CodeTaskNotExist", 400)]
    delivery = bench.publish()
    bench.execute(delivery)
    outcome = bench.execute(bench.again(delivery))
    assert isinstance(outcome, Outcome)
    assert outcome.result is Result.ALREADY_STOPPED
    assert [count.code for count in counted(bench)] == ["HTTP 502"]


def test_every_attempt_is_counted(bench: Pipeline) -> None:
    bench.answers = [fault("InternalError"), fault("InternalError"), fault("InternalError")]
    delivery = bench.publish()
    bench.execute(delivery)
    bench.execute(bench.again(delivery))
    outcome = bench.execute(bench.again(delivery))
    assert isinstance(outcome, Outcome)
    assert (outcome.result, [count.count for count in counted(bench)]) == (Result.GAVE_UP, [3])


def test_a_job_that_was_not_called_counts_nothing(bench: Pipeline) -> None:
    outcome = bench.execute(bench.publish(changes={"params": {"AppId": "a"}}))
    assert isinstance(outcome, Outcome)
    assert (outcome.result, counted(bench)) == (Result.REFUSED, [])


def test_a_code_that_no_table_lists_is_an_event(bench: Pipeline) -> None:
    bench.answers = [fault("Brand.New", 400)]
    delivery = bench.publish()
    bench.execute(delivery)
    (event,) = Journal(bench.redis).events()
    lane = delivery.taken.lane
    assert (event.kind, event.account, event.operation) == (EventKind.UNKNOWN_CODE, lane.account, lane.operation)
    assert event.text.startswith("Brand.New: ")
