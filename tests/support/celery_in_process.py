"""Celery's part of a worker in this process: a real app, pool, hub and requests, without a broker."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from celery import Celery
from celery.worker import state
from kombu.asynchronous import Hub
from kombu.transport.virtual import Message

from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory, Taken
from streamstop.outcomes import Outcome, Result
from streamstop_worker.celery_parts.consumer import Consumer
from streamstop_worker.celery_parts.pool import EventLoopPool
from streamstop_worker.celery_parts.tasks import register
from streamstop_worker.pipeline.deliveries import Delivery, _read
from streamstop_worker.pipeline.ends import End
from streamstop_worker.pipeline.slots import Slots
from tests.support.celery_messages import celery_message

LANE = Lane("live-cn", "live.StopMPUTask")
OnCall = Callable[[], None]
#: Runs a job of a stage.
JobRunner = Callable[["Stage", Delivery, OnCall], Coroutine[Any, Any, End]]


class Events:
    """Records the events that requests send."""

    enabled = True

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append((kind, fields))

    @property
    def kinds(self) -> list[str]:
        """Return the types of the events."""
        return [kind for kind, _fields in self.sent]


class Channel:
    """Records acknowledgements."""

    no_ack_consumers = None

    def __init__(self) -> None:
        self.acknowledged: list[str] = []

    def basic_ack(self, tag: str, multiple: bool = False) -> None:
        self.acknowledged.append(tag)


class Stage:
    """A pool whose hub the test runs."""

    def __init__(self, run: JobRunner) -> None:
        self.app = Celery("test", set_as_current=False)
        register(self.app)
        self.hub, self.events, self.channel = Hub(), Events(), Channel()
        self.pool = EventLoopPool(10, app=self.app)
        self.pool.slots = self.slots = Slots(concurrency=10)
        self.pool.run = partial(run, self)
        self.pool.start()
        self.pool.register_with_event_loop(self.hub)
        consumer: Any = object.__new__(Consumer)
        consumer.app, consumer.pool, consumer.hostname = self.app, self.pool, "worker@host"
        consumer.event_dispatcher, consumer.connection_errors = self.events, (ConnectionError,)
        consumer._failed_starts = 0
        consumer.on_task_request = lambda request: request.execute_using_pool(self.pool)
        self.consumer = consumer
        self._tags = iter(range(10_000))

    def deliver(self, message: bytes = b"", lane: Lane = LANE) -> str:
        """Have Celery's consumer get a job, as the intake does; return its id."""
        job_id = lane.new_job_id()
        headers, argument, problem = _read(message or celery_message(lane, job_id))
        taken = Taken(lane, job_id, message, "owner", AttemptHistory(attempts=2), 0, 0)
        delivery = Delivery(taken, datetime.now(UTC), 0.0, 0.0, 0.0, headers, argument, problem)
        tag = str(next(self._tags))
        properties = {"delivery_tag": tag, "delivery_info": {"exchange": "", "routing_key": "streamstop"}}
        payload = {"body": "", "headers": {}, "properties": properties, "content-type": "application/json"}
        self.slots.take()
        channel: Any = self.channel
        self.consumer._on_delivery(delivery, Message(payload, channel=channel))
        return job_id

    def turn_until(self, is_so: Callable[[], bool]) -> None:
        """Run the hub until the condition holds."""
        while not is_so():
            self.hub.run_once()

    def close(self) -> None:
        """End running jobs, and those that a shutdown has left."""
        pool = self.pool
        if pool._thread.is_alive():
            pool.on_terminate()
        for task in list(pool._tasks):
            task.cancel()
            pool.loop.run_until_complete(asyncio.wait([task]))
        pool.loop.close()
        self.hub.close()
        pool._notify_socket.close()
        pool._wake_socket.close()
        state.reset_state()


def outcome(delivery: Delivery, result: Result = Result.STOPPED) -> Outcome:
    taken = delivery.taken
    return Outcome(
        result=result,
        job_id=taken.job_id,
        account=taken.lane.account,
        operation=taken.lane.operation,
        code="Denied" if result is Result.REFUSED else None,
        ended_at=datetime.now(UTC),
    )


def ending(end: Callable[[Delivery], End]) -> JobRunner:
    """Return what calls the vendor for a job, and then ends it."""

    async def run(open_stage: Stage, delivery: Delivery, on_call: OnCall) -> End:
        open_stage.slots.send()
        on_call()
        return end(delivery)

    return run


async def call_without_an_answer(open_stage: Stage, _delivery: Delivery, on_call: OnCall) -> End:
    """Call the vendor for a job, which never answers."""
    open_stage.slots.send()
    on_call()
    await asyncio.Event().wait()
    raise AssertionError


@contextmanager
def stage(run: JobRunner) -> Iterator[Stage]:
    """Give a stage whose jobs are run by `run`."""
    made = Stage(run)
    try:
        yield made
    finally:
        made.close()
