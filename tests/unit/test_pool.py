"""The pool: Celery's events of jobs that run in the event loop, and a worker's shutdown."""

import asyncio
import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from celery import signals as celery_signals
from celery.exceptions import WorkerShutdown, WorkerTerminate
from celery.worker import state
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from streamstop import Deferral, Result
from streamstop_worker.app import make_app
from streamstop_worker.celery_parts.cold_shutdown import install_handlers
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import End, GivenBack, StepDone
from tests.support.celery_in_process import LANE, Events, Stage, outcome, stage
from tests.support.celery_messages import envelope
from tests.support.hostile_messages import hostile_messages

OnCall = Callable[[], None]


def ending(end: Callable[[Delivery], End]) -> Any:
    async def run(delivery: Delivery, on_call: OnCall) -> End:
        on_call()
        stages[0].slots.send()
        return end(delivery)

    return run


#: The one that is open, for the bodies of its jobs.
stages: list[Stage] = []


@pytest.fixture(autouse=True)
def _forget_stages() -> Any:
    yield
    stages.clear()


async def call_without_an_answer(_delivery: Delivery, on_call: OnCall) -> End:
    on_call()
    stages[0].slots.send()
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("end", "kind", "said"),
    [
        (outcome, "task-succeeded", {"result": "stopped"}),
        (lambda one: outcome(one, Result.NOT_FOUND), "task-failed", {"exception": "JobFailed(not_found)"}),
        (lambda one: outcome(one, Result.REFUSED), "task-failed", {"exception": "JobFailed(refused: Denied)"}),
        (lambda one: outcome(one, Result.CANCELLED), "task-revoked", {"terminated": False}),
        (
            lambda _one: Deferral("Busy", datetime.now(UTC)),
            "task-retried",
            {"exception": "JobDeferred('Busy')"},
        ),
        (lambda _one: StepDone("callback"), "task-succeeded", {"result": "callback"}),
        (lambda _one: GivenBack(), "task-rejected", {"requeue": True}),
    ],
)
def test_celery_hears_what_redis_was_told(end: Callable[[Delivery], End], kind: str, said: dict[str, Any]) -> None:
    with stage(ending(end)) as open_stage:
        stages.append(open_stage)
        job_id = open_stage.deliver()
        assert [request.id for request in state.reserved_requests] == [job_id]
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == 1)
        assert open_stage.events.kinds == ["task-received", "task-started", kind]
        assert said.items() <= open_stage.events.sent[-1][1].items()
        assert not state.requests
        assert not state.reserved_requests
        assert not state.active_requests
        assert (open_stage.slots.under_way, open_stage.slots.unsent) == (0, 0)


@pytest.mark.parametrize("error", [RuntimeError("a fault"), RedisConnectionError(), asyncio.QueueFull()])
def test_a_job_that_meets_a_fault_is_over_for_celery_and_leaves_its_room(error: Exception) -> None:
    def fail(_delivery: Delivery) -> End:
        raise error

    with stage(ending(fail)) as open_stage:
        stages.append(open_stage)
        rooms: list[int] = []
        open_stage.pool.on_room = lambda: rooms.append(open_stage.slots.room)
        open_stage.deliver()
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == 1)
        assert open_stage.events.kinds[-1] == "task-retried"
        assert open_stage.slots.under_way == 0
        open_stage.turn_until(lambda: rooms[-1:] == [10])


def test_slots_are_free_again_before_the_room_is_announced() -> None:
    with stage(ending(outcome)) as open_stage:
        stages.append(open_stage)
        rooms: list[int] = []
        open_stage.pool.on_room = lambda: rooms.append(open_stage.slots.room)
        for _ in range(10):
            open_stage.deliver()
        assert open_stage.slots.room == 0 or open_stage.slots.under_way < 10
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == 10)
        open_stage.turn_until(lambda: rooms[-1:] == [10])


def test_a_job_that_celery_knows_nothing_of_is_run_and_leaves_its_room() -> None:
    seen: list[Delivery] = []

    async def run(delivery: Delivery, on_call: OnCall) -> End:
        on_call()
        stages[0].slots.send()
        seen.append(delivery)
        raise RuntimeError("a fault")

    with stage(run) as open_stage:
        stages.append(open_stage)
        rooms: list[int] = []
        open_stage.pool.on_room = lambda: rooms.append(open_stage.slots.room)
        open_stage.consumer.on_task_request = lambda request: open_stage.pool.run_in_loop(
            lambda: open_stage.pool.run_without_request(request.delivery)
        )
        open_stage.deliver()
        open_stage.turn_until(lambda: rooms[-1:] == [10])
        assert len(seen) == 1


def test_a_failed_acknowledgement_delays_no_other_job() -> None:
    with stage(ending(outcome)) as open_stage:
        stages.append(open_stage)
        acknowledge, failed = open_stage.channel.basic_ack, list[str]()

        def fail_once(tag: str, multiple: bool = False) -> None:
            if not failed:
                failed.append(tag)
                raise ConnectionError("the old connection is gone")
            acknowledge(tag)

        open_stage.channel.basic_ack = fail_once  # type: ignore[method-assign]
        for _ in range(3):
            open_stage.deliver()
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == 2)
        assert open_stage.events.kinds.count("task-succeeded") == 3


@pytest.mark.parametrize("params", [None, 5, [1], "text", {"TaskId": "t"}])
def test_a_request_shows_its_parameters_if_it_has_any(params: object) -> None:
    fields = envelope(LANE, "x")
    fields["properties"].pop("body_encoding")
    fields["body"] = json.dumps([[{"v": 1, "params": params}], {}, None])
    with stage(ending(outcome)) as open_stage:
        stages.append(open_stage)
        open_stage.deliver(json.dumps(fields).encode())
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == 1)
        (received,) = [fields for kind, fields in open_stage.events.sent if kind == "task-received"]
        assert (received["name"], received["args"]) == (LANE.name, "('live-cn',)")
        assert received["kwargs"] == ("{'TaskId': 't'}" if isinstance(params, dict) else "{}")
        assert received["retries"] == 2


def test_every_hostile_message_becomes_a_request_that_celery_can_show() -> None:
    messages = list(hostile_messages(LANE, 200, seed=3))
    with stage(ending(outcome)) as open_stage:
        stages.append(open_stage)
        open_stage.slots.concurrency = 1000
        for message in messages:
            open_stage.deliver(message)
            json.dumps([request.info() for request in state.reserved_requests])
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == len(messages))
        json.dumps(open_stage.events.sent)


def test_a_warm_shutdown_lets_calls_end_and_gives_back_what_waits_for_its_slot() -> None:
    answered: dict[str, asyncio.Event] = {}

    async def run(delivery: Delivery, on_call: OnCall) -> End:
        if delivery.taken.lane.operation != LANE.operation:
            waited = await stages[0].slots.wait(asyncio.get_running_loop().time() + 3600)
            stages[0].slots.send()
            assert not waited
            answered["call"].set()  # only now the vendor answers the call
            return GivenBack()
        on_call()
        stages[0].slots.send()
        answered["call"] = asyncio.Event()
        await answered["call"].wait()
        return outcome(delivery)

    with stage(run) as open_stage:
        stages.append(open_stage)
        open_stage.deliver()
        open_stage.turn_until(lambda: "task-started" in open_stage.events.kinds)
        open_stage.deliver(lane=type(LANE)("live-cn", "rtc.StopMPUTask"))
        open_stage.turn_until(lambda: len(open_stage.slots._waiting) == 1)
        open_stage.pool.stop()
        assert sorted(open_stage.events.kinds[-2:]) == ["task-rejected", "task-succeeded"]
        assert open_stage.slots.under_way == 0


def test_a_cold_shutdown_leaves_the_calls_to_their_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(call_without_an_answer) as open_stage:
        stages.append(open_stage)
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
        stages.append(open_stage)
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
    async def run(_delivery: Delivery, _on_call: OnCall) -> End:
        stages[0].slots.send()
        asyncio.get_running_loop().stop()
        await asyncio.Event().wait()
        raise AssertionError

    with stage(run) as open_stage:
        stages.append(open_stage)
        open_stage.deliver()
        open_stage.pool._thread.join()
        open_stage.pool.stop()
        assert open_stage.slots.under_way == 1


def test_a_worker_that_shuts_down_looks_for_no_more_jobs() -> None:
    with stage(ending(outcome)) as open_stage:
        stages.append(open_stage)
        looks: list[int] = []
        open_stage.pool.on_room = lambda: looks.append(1)
        open_stage.pool.stop()
        open_stage.pool.run_calls()
        assert looks == []
        assert open_stage.slots.draining


def test_a_worker_that_connects_anew_hears_of_wakes_while_its_calls_are_under_way() -> None:
    with stage(call_without_an_answer) as open_stage:
        stages.append(open_stage)
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


def test_the_end_of_a_job_is_told_over_the_connection_that_there_is_then() -> None:
    with stage(ending(outcome)) as open_stage:
        stages.append(open_stage)
        open_stage.deliver()
        before, now = open_stage.events, Events()
        open_stage.consumer.event_dispatcher = now
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == 1)
        assert (before.kinds, now.kinds) == (["task-received"], ["task-started", "task-succeeded"])
