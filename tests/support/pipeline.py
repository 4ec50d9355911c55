"""The pipeline of a worker without Celery: a Redis in memory, real lanes and protocols, and a scripted vendor."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
from fakeredis import FakeRedis, FakeServer

from streamstop import Command, Deferral, Outcome
from streamstop._core.constants import LEASED, SCHEDULE
from streamstop._core.lane import Lane
from streamstop._redis.accounts import KnownAccounts
from streamstop._redis.lanes import Lanes
from streamstop._redis.rooms import Rooms
from streamstop._redis.schedule import Schedule
from streamstop._redis.stream_tasks import StreamTasks
from streamstop._wire.messages import celery_message
from streamstop._wire.results import read_record
from streamstop.operations import Operation, RtcStopMPUTask
from streamstop_worker.accounts import Accounts
from streamstop_worker.pipeline.backoff import Backoff
from streamstop_worker.pipeline.deliveries import Delivery, deliveries
from streamstop_worker.pipeline.ends import End
from streamstop_worker.pipeline.execute import Executor
from streamstop_worker.pipeline.pacing import book_of
from streamstop_worker.pipeline.reporter import Reporter
from streamstop_worker.pipeline.slots import Slots
from streamstop_worker.shutdowns.fan_out import Shutdowns
from streamstop_worker.transport import Transport

ACCOUNTS = '[accounts.live-cn]\nvendor = "aliyun"\naccess_key_id = "id"\naccess_key_secret = "hush"\n'
STOP = RtcStopMPUTask(app_id="a", task_id="t")
LEASE = timedelta(seconds=15)
Answers = Callable[[httpx.Request], httpx.Response]
T = TypeVar("T")


class Work:
    """What every part of a worker works with: the lanes of a Redis, accounts, a reporter and an event loop."""

    def __init__(self, redis: Any, folder: Path) -> None:
        path = folder / "accounts.toml"
        path.write_text(ACCOUNTS)
        path.chmod(0o600)
        self.redis = redis
        self.lanes, self.schedule = Lanes(redis), Schedule(redis)
        self.accounts = Accounts(path, {})
        self.slots = Slots(concurrency=10)
        #: What the reporter has told of lanes that are due.
        self.due: list[timedelta] = []
        self._runner = asyncio.Runner()
        self.reporter = self.run(self._reporter())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the event loop."""
        return self._runner.run(coroutine)

    def close(self) -> None:
        """End what runs."""
        self.reporter.close()
        self._runner.close()

    def take(self, most: int, unserved_lanes: Sequence[Lane] = ()) -> list[Delivery]:
        """Take jobs of the lanes that are due, or of strangers'."""
        if unserved_lanes:
            take = self.schedule.take_unserved(unserved_lanes, most, lease=LEASE)
        else:
            take = self.schedule.take(most, lease=LEASE, book=book_of(self.accounts))
        for _ in take.jobs:
            self.slots.take()
        return deliveries(take, asked_at=self.now(), taken_at=self.now())

    def now(self) -> float:
        """The monotonic clock, as the event loop has it."""
        return self._runner.get_loop().time()

    async def _reporter(self) -> Reporter:
        return Reporter(
            self.schedule,
            self.lanes,
            on_due=self.due.append,
            under_way=lambda: self.slots.under_way,
            draining=lambda: self.slots.draining,
        )


@contextmanager
def work(redis: Any, folder: Path) -> Iterator[Work]:
    """Give the parts of a worker."""
    made = Work(redis, folder)
    try:
        yield made
    finally:
        made.close()


class Pipeline(Work):
    """An executor with everything that it needs, and the jobs that a test gives it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(FakeRedis(server=FakeServer()), folder)
        self.known = KnownAccounts(self.redis)
        self.requests: list[httpx.Request] = []
        self.answers: list[Answers | httpx.Response | Exception] = []
        self.revoked: set[str] = set()
        #: How many calls have begun.
        self.began = 0
        self.transport = Transport(timedelta(seconds=5), 1, httpx.MockTransport(self._answer))
        self.executor = Executor(
            shutdowns=Shutdowns(Rooms(self.redis, self.lanes), self.lanes),
            stream_tasks=StreamTasks(self.redis),
            accounts=self.accounts,
            known_accounts=self.known,
            transport=self.transport,
            report=self.reporter.report,
            slots=self.slots,
            record_ttl=timedelta(days=1),
            random=lambda: 0.0,
            is_revoked=self.revoked.__contains__,
            backoff=Backoff(attempts=3),
        )

    def close(self) -> None:
        """End what runs."""
        super().close()
        self.redis.close()

    def publish(
        self, operation: Operation = STOP, *, account: str = "live-cn", changes: dict[str, Any] | None = None
    ) -> Delivery:
        """Put a command into its lane, and take it."""
        command = Command(operation=operation, account=account)
        message = {**command.to_message(now=datetime.now(UTC)), **(changes or {})}
        self.push(command.lane, celery_message(command.lane.new_job_id(), command.lane, message))
        return self.take_of(command.lane)

    def push(self, lane: Lane, message: str | bytes) -> None:
        """Put any message into a lane, which is then due."""
        self.redis.lpush(lane.queue, message)
        self.redis.zadd(SCHEDULE, {lane.name: 0})

    def take_of(self, lane: Lane) -> Delivery:
        """Take the next job of a lane."""
        (delivery,) = self.take(1, [] if lane.account in self.accounts.names else [lane])
        return delivery

    def again(self, delivery: Delivery) -> Delivery:
        """Let a deferred job be due, and take it."""
        lane = delivery.taken.lane
        self.redis.zadd(lane.due, {delivery.taken.job_id: 0})
        self.redis.hset(lane.pace, mapping={"due": 1, "rest": 0})
        self.redis.zadd(SCHEDULE, {lane.name: 0})
        return self.take_of(lane)

    def lapse(self, delivery: Delivery) -> None:
        """Let a job's lease run out, as a sweep finds it."""
        lane = delivery.taken.lane
        self.redis.zadd(lane.leases, {delivery.taken.job_id: 0})
        self.redis.zadd(LEASED, {lane.name: 0})
        self.schedule.sweep(longest_lease=2 * LEASE, period=timedelta(0))

    def execute(self, delivery: Delivery) -> End:
        """Carry a job as far as it goes, as the pool does."""
        try:
            return self.run(self.executor.execute(delivery, self._on_call))
        finally:
            self.slots.end()

    def recorded(self, delivery: Delivery) -> Outcome | Deferral | None:
        """Return what a job's record says."""
        record = self.lanes.record_of(delivery.taken.job_id)
        return None if record is None else read_record(record)

    def _on_call(self) -> None:
        self.began += 1

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else httpx.Response(200, json={"RequestId": "r"})
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)


@contextmanager
def pipeline(folder: Path) -> Iterator[Pipeline]:
    """Give a pipeline whose accounts file is in `folder`."""
    made = Pipeline(folder)
    try:
        yield made
    finally:
        made.close()


def fault(code: str, status: int = 500) -> httpx.Response:
    """Return an answer of the vendor's that is an error."""
    return httpx.Response(status, json={"Code": code, "Message": "m", "RequestId": "r"})
