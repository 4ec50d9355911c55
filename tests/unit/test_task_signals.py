"""Celery's per-task signals: sent in the job's own context, in the order that instrumentation expects."""

import asyncio
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import signals

from streamstop import Deferral, JobDeferred, JobFailed, Result
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import End, GivenBack, StepDone
from tests.support.celery_in_process import LANE, Stage, outcome, stage

SPAN: ContextVar[str | None] = ContextVar("span", default=None)
NAMES = ("prerun", "postrun", "success", "failure", "retry", "revoked")


class Instrumentation:
    """Hangs on the signals as tracing libraries do."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.spans: list[tuple[str, str | None]] = []
        self.requests: list[tuple[str, str | None, Any]] = []
        self._receivers: dict[str, Callable[..., None]] = {}
        for name in NAMES:
            self._receivers[name] = self._receiver(name)
            getattr(signals, f"task_{name}").connect(self._receivers[name], weak=False)

    def close(self) -> None:
        for name, receiver in self._receivers.items():
            getattr(signals, f"task_{name}").disconnect(receiver)

    def _receiver(self, name: str) -> Callable[..., None]:
        def receive(sender: Any = None, **named: Any) -> None:
            self.heard.append((name, named))
            self.requests.append((name, sender.request.id, sender.request.kwargs))
            if name == "prerun":
                SPAN.set(named["task_id"])
            self.spans.append((name, SPAN.get()))

        return receive

    @property
    def names(self) -> list[str]:
        return [name for name, _named in self.heard]

    def told(self, name: str) -> dict[str, Any]:
        return next(named for heard, named in self.heard if heard == name)


@pytest.fixture
def heard() -> Iterator[Instrumentation]:
    instrumentation = Instrumentation()
    yield instrumentation
    instrumentation.close()


def run_one(end: Callable[[Delivery], End], *, calls: bool = True, jobs: int = 1) -> list[str]:
    """Run jobs to their ends; return their ids."""

    async def run(open_stage: Stage, delivery: Delivery, on_call: Callable[[], None]) -> End:
        if calls:
            on_call()
        await asyncio.sleep(0)  # others run in between
        open_stage.slots.send()
        return end(delivery)

    with stage(run) as opened:
        ids = [opened.deliver() for _ in range(jobs)]
        opened.turn_until(lambda: len(opened.channel.acknowledged) == jobs)
    return ids


def failing(error: Exception) -> Callable[[Delivery], End]:
    def fail(_delivery: Delivery) -> End:
        raise error

    return fail


@pytest.mark.parametrize(
    ("end", "calls", "names", "state"),
    [
        (outcome, True, ["prerun", "success", "postrun"], "SUCCESS"),
        (lambda one: outcome(one, Result.REFUSED), True, ["prerun", "failure", "postrun"], "FAILURE"),
        (lambda one: outcome(one, Result.REFUSED), False, ["prerun", "failure", "postrun"], "FAILURE"),
        (lambda _: Deferral("Busy", datetime.now(UTC)), True, ["prerun", "retry", "postrun"], "RETRY"),
        (lambda one: outcome(one, Result.CANCELLED), False, ["revoked"], None),
        (lambda one: outcome(one, Result.CANCELLED), True, ["prerun", "revoked", "postrun"], "REVOKED"),
        (lambda _: StepDone("cancel"), True, ["prerun", "success", "postrun"], "SUCCESS"),
        (lambda _: GivenBack(), True, ["prerun", "postrun"], "REJECTED"),
        (lambda _: GivenBack(), False, [], None),
        (failing(RuntimeError("a fault")), True, ["prerun", "retry", "postrun"], "RETRY"),
    ],
)
def test_each_end_is_told_in_the_order_of_celerys_own_pools(
    heard: Instrumentation, end: Callable[[Delivery], End], calls: bool, names: list[str], state: str | None
) -> None:
    (job_id,) = run_one(end, calls=calls)
    assert heard.names == names
    if state is not None:
        postrun = heard.told("postrun")
        assert (postrun["task_id"], postrun["task"].name, postrun["state"]) == (job_id, LANE.operation, state)
        assert (postrun["args"], postrun["kwargs"]["AppId"]) == ((LANE.account,), "app")


def test_a_success_has_the_result_that_async_result_gives(heard: Instrumentation) -> None:
    (job_id,) = run_one(outcome)
    result = heard.told("success")["result"]
    assert (result["result"], result["job_id"]) == ("stopped", job_id)
    assert heard.told("success")["runtime"] >= 0


def test_a_failure_and_a_retry_have_the_exceptions_that_the_record_has(heard: Instrumentation) -> None:
    (job_id,) = run_one(lambda one: outcome(one, Result.REFUSED))
    failure = heard.told("failure")
    assert isinstance(failure["exception"], JobFailed)
    assert failure["einfo"].type is JobFailed
    assert failure["task_id"] == job_id
    run_one(lambda _: Deferral("Busy", datetime.now(UTC)))
    assert isinstance(heard.told("retry")["reason"], JobDeferred)
    assert heard.told("retry")["einfo"].type is JobDeferred
    assert heard.told("retry")["request"].task == LANE.operation


def test_each_job_has_its_own_context_from_prerun_to_postrun(heard: Instrumentation) -> None:
    ids = run_one(outcome, jobs=5)
    assert sorted(heard.spans, key=str) == sorted(
        ((name, job_id) for job_id in ids for name in ("prerun", "success", "postrun")), key=str
    )
    assert SPAN.get() is None


def test_while_a_signal_is_sent_the_tasks_request_is_the_jobs(heard: Instrumentation) -> None:
    ids = run_one(outcome, jobs=3)
    assert {(name, job_id) for name, job_id, _kwargs in heard.requests} == {
        (name, job_id) for job_id in ids for name in ("prerun", "success", "postrun")
    }
    assert all(kwargs["AppId"] == "app" for _name, _job_id, kwargs in heard.requests)


def test_a_receiver_that_fails_changes_nothing_of_the_job(heard: Instrumentation) -> None:
    def fail(**_named: Any) -> None:
        raise RuntimeError("the receiver's own")

    signals.task_prerun.connect(fail)
    try:
        run_one(outcome)
    finally:
        signals.task_prerun.disconnect(fail)
    assert heard.names == ["prerun", "success", "postrun"]
