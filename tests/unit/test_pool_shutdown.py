"""The pool when its worker shuts down, warm or cold, or has lost its connection."""

import asyncio
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from celery import signals as celery_signals
from celery.exceptions import WorkerShutdown, WorkerTerminate
from celery.worker import state
from redis.exceptions import OutOfMemoryError

from streamstop_worker.app import make_app
from streamstop_worker.celery_parts.cold_shutdown import install_handlers
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import End, GivenBack
from tests.support.celery_in_process import LANE, OnCall, Stage, call_without_an_answer, ending, outcome, stage


def test_a_warm_shutdown_lets_calls_end_and_gives_back_what_waits_for_its_slot() -> None:
    answered: dict[str, asyncio.Event] = {}

    async def run(open_stage: Stage, delivery: Delivery, on_call: OnCall) -> End:
        if delivery.taken.lane.operation != LANE.operation:
            waited = await open_stage.slots.wait(asyncio.get_running_loop().time() + 3600)
            open_stage.slots.send()
            assert not waited
            answered["call"].set()  # only now the vendor answers the call
            return GivenBack()
        open_stage.slots.send()
        on_call()
        answered["call"] = asyncio.Event()
        await answered["call"].wait()
        return outcome(delivery)

    with stage(run) as open_stage:
        open_stage.deliver()
        open_stage.turn_until(lambda: "task-started" in open_stage.events.kinds)
        open_stage.deliver(lane=type(LANE)("live-cn", "rtc.StopMPUTask"))
        open_stage.turn_until(lambda: len(open_stage.slots._waiting) == 1)
        open_stage.pool.stop()
        assert sorted(open_stage.events.kinds[-2:]) == ["task-rejected", "task-succeeded"]
        assert open_stage.slots.under_way == 0


def test_a_cold_shutdown_leaves_the_calls_to_their_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(call_without_an_answer) as open_stage:
        open_stage.deliver()
        open_stage.turn_until(lambda: "task-started" in open_stage.events.kinds)
        monkeypatch.setattr(state, "should_terminate", 1)
        open_stage.consumer._celerys_loop = state.maybe_shutdown
        with pytest.raises(WorkerTerminate):
            open_stage.consumer._unending_loop()
        open_stage.pool.terminate()
        assert open_stage.events.kinds == ["task-received", "task-started", "task-cancelled"]
        assert not state.active_requests
        assert open_stage.slots.under_way == 1


@pytest.mark.parametrize("signals", [[signal.SIGQUIT], [signal.SIGINT, signal.SIGINT]])
def test_the_handler_of_a_cold_shutdown_only_requests_it(
    signals: list[signal.Signals], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutting_down: list[str] = []
    worker: Any = SimpleNamespace(hostname="w@host")  # has nothing that a handler could stop or cancel

    def note(how: str, **_signal: Any) -> None:
        shutting_down.append(how)

    celery_signals.worker_shutting_down.connect(note)
    before = {number: signal.getsignal(number) for number in (signal.SIGQUIT, signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(state, "should_stop", None)
    monkeypatch.setattr(state, "should_terminate", None)
    try:
        install_handlers(worker)
        for number in signals:
            signal.raise_signal(number)
        with pytest.raises(WorkerTerminate):
            state.maybe_shutdown()
    finally:
        celery_signals.worker_shutting_down.disconnect(note)
        for number, handler in before.items():
            signal.signal(number, handler)
    assert shutting_down == ["Warm", "Cold"][-len(signals) :]


def test_a_cold_shutdown_ends_the_wait_of_a_warm_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(call_without_an_answer) as open_stage:
        open_stage.deliver()
        open_stage.turn_until(lambda: "task-started" in open_stage.events.kinds)
        waits: list[int] = []

        def quit_in_the_wait(_seconds: float) -> None:
            waits.append(open_stage.slots.under_way)
            monkeypatch.setattr(state, "should_terminate", 1)

        monkeypatch.setattr(state, "should_terminate", None)
        monkeypatch.setattr("time.sleep", quit_in_the_wait)
        open_stage.pool.stop()
        assert waits == [1]


def test_a_worker_whose_loop_is_gone_does_not_wait_for_jobs_that_cannot_end() -> None:
    async def run(open_stage: Stage, _delivery: Delivery, _on_call: OnCall) -> End:
        open_stage.slots.send()
        asyncio.get_running_loop().stop()
        await asyncio.Event().wait()
        raise AssertionError

    with stage(run) as open_stage:
        open_stage.deliver()
        open_stage.pool._thread.join()
        open_stage.pool.stop()
        assert open_stage.slots.under_way == 1


def test_a_worker_that_shuts_down_looks_for_no_more_jobs() -> None:
    with stage(ending(outcome)) as open_stage:
        looks: list[int] = []
        open_stage.pool.on_room = lambda: looks.append(1)
        open_stage.pool.stop()
        open_stage.pool.run_calls()
        assert looks == []
        assert open_stage.slots.draining


def test_a_worker_that_connects_anew_hears_of_wakes_while_its_calls_are_under_way() -> None:
    with stage(call_without_an_answer) as open_stage:
        open_stage.deliver()
        open_stage.turn_until(lambda: "task-started" in open_stage.events.kinds)
        consumer = open_stage.consumer
        consumer.app = make_app()
        consumer.connection, consumer.controller = None, None
        consumer.initial_prefetch_count, consumer.prefetch_multiplier, consumer.qos_global = 10, 1, True
        # What Celery's handler of messages would count up again with each message, ours is not told of.
        consumer.on_connection_error_after_connected(ConnectionError())
        assert consumer.initial_prefetch_count == 10
        assert len(state.active_requests) == 1


def test_a_start_that_redis_refuses_is_tried_ever_later_and_a_shutdown_ends_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[int] = []

    def sleep(seconds: float) -> None:
        pauses[-1] += int(seconds)

    monkeypatch.setattr("time.sleep", sleep)
    with stage(ending(outcome)) as open_stage:
        consumer = open_stage.consumer
        consumer.app, consumer.connection, consumer.init_callback = make_app(), None, None

        def fail() -> None:
            pauses.append(0)
            consumer.on_connection_error_after_connected(OutOfMemoryError())

        consumer.on_ready()
        for _ in range(8):
            fail()
        consumer.on_ready()
        fail()
        fail()
        assert pauses == [0, 1, 2, 4, 8, 16, 30, 30, 0, 1]
        monkeypatch.setattr(state, "should_stop", 0)
        with pytest.raises(WorkerShutdown):
            fail()
        assert pauses[-1] == 0
