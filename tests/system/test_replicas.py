"""Replicas: with STREAMSTOP_REDIS_REPLICAS, a call returns once that many replicas hold its writes."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from streamstop import Client, Command, Job, QueueUnavailable
from streamstop._core.constants import BATCHES, CONTROLS
from streamstop._core.lane import Lane
from streamstop.errors import InvalidSettings
from streamstop.operations import StopMPUTask, StopStreamIngest
from streamstop_simulator.demo.embedded_redis import RedisServer, redis_server
from tests.support.bad_network import bad_network
from tests.support.polling import eventually

pytestmark = pytest.mark.long

STOP = StopMPUTask(app_id="a", task_id="t")
MANY = [
    Command(operation=STOP, account="acc"),
    Command(operation=StopStreamIngest(sdk_app_id=1, task_id="i"), account="other", priority=9),
]


@dataclass(frozen=True)
class Replicated:
    """A primary, its replica, and a client that waits for one replica."""

    client: Client
    primary: Redis
    replica: Redis
    replica_process: RedisServer

    def has(self, *jobs: Job) -> bool:
        """Whether the replica has all of `jobs` now, waiting in their lanes."""
        lanes = [lane for job in jobs if (lane := Lane.of_job(job.id)) is not None]
        snapshot = self.replica.pipeline(transaction=True)
        for lane in lanes:
            for waiting in lane.waiting:
                snapshot.lrange(waiting, 0, -1)
        held = b" ".join(one for many in snapshot.execute() for one in many)
        return len(lanes) == len(jobs) and all(job.id.encode() in held for job in jobs)

    def await_replica(self) -> None:
        eventually(lambda: self.replica.info("replication")["master_link_status"] == "up", "the replica connected")


@pytest.fixture
def replicated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Replicated]:
    monkeypatch.setenv("STREAMSTOP_REDIS_REPLICAS", "1")
    with ExitStack() as stack:
        primary = stack.enter_context(redis_server("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"))
        replica = stack.enter_context(redis_server("--replicaof", "127.0.0.1", str(primary.port)))
        made = Replicated(
            stack.enter_context(Client(primary.url, timeout=timedelta(seconds=2))),
            stack.enter_context(primary.client()),
            stack.enter_context(replica.client()),
            replica,
        )
        made.await_replica()
        yield made


def test_a_batch_that_is_accepted_is_in_the_replica_too(replicated: Replicated) -> None:
    jobs = replicated.client.enqueue_many(MANY * 300)
    last = replicated.client.enqueue(STOP, account="acc")  # the replica has what was written before it, too
    assert replicated.has(jobs[0], jobs[-1], last)
    assert not replicated.replica.exists(BATCHES)


def test_a_call_returns_once_its_writes_are_in_the_replica(replicated: Replicated) -> None:
    client = replicated.client
    for number in range(20):
        assert replicated.has(client.enqueue(STOP, account="acc"))
        assert replicated.has(*client.enqueue_many(MANY))
        client.register(f"room-{number}", STOP, account="acc")
        assert replicated.replica.hlen(f"streamstop.room.room-{number}:tasks") == 1
        shutdown = client.stop_room(f"room-{number}")
        assert replicated.replica.hget(f"streamstop.shutdown.{shutdown.id}", "status") == b"open"


def test_a_control_is_in_the_replica_when_the_call_returns(replicated: Replicated) -> None:
    client, operation = replicated.client, "live.StopMPUTask"
    client.enqueue(STOP, account="acc")

    def controls() -> set[str]:
        found: Any = replicated.replica.hkeys(CONTROLS)
        return {field.decode() for field in found} - {"version"}

    for _ in range(20):
        client.pause("acc")
        assert controls() == {"pause acc"}
        client.set_limit("acc", operation, 2)
        assert controls() == {"pause acc", f"limit acc.{operation}"}
        assert client.resume("acc")
        assert client.clear_limit("acc", operation)
        assert controls() == set()


def test_a_control_that_no_replica_confirms_is_an_error_that_says_what_was_done(replicated: Replicated) -> None:
    client, replica = replicated.client, replicated.replica_process.process
    client.enqueue(STOP, account="acc")
    replica.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(QueueUnavailable, match=r"^acc is paused, but 0 of 1 replicas .*: pause it again"):
            client.pause("acc")
        assert [pause.scope for pause in client.pauses()] == ["acc"]
        with pytest.raises(QueueUnavailable, match=r"^acc is resumed, but 0 of 1 replicas .*: resume it again"):
            client.resume("acc")
        with pytest.raises(QueueUnavailable, match=r"^the limit of acc.live.StopMPUTask is 2 calls/s, but 0 of 1"):
            client.set_limit("acc", "live.StopMPUTask", 2)
        with pytest.raises(QueueUnavailable, match=r"^the limit of acc.live.StopMPUTask is cleared, but 0 of 1"):
            client.clear_limit("acc", "live.StopMPUTask")
    finally:
        replica.send_signal(signal.SIGCONT)


def test_a_replica_that_does_not_confirm_is_an_error_that_says_what_was_done(replicated: Replicated) -> None:
    client, replica = replicated.client, replicated.replica_process.process
    replica.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(QueueUnavailable, match=r"it was enqueued, but 0 of 1 replicas .* again is harmless"):
            client.enqueue(STOP, account="acc")
        with pytest.raises(QueueUnavailable, match="it was enqueued, but 0 of 1 replicas"):
            client.enqueue_many(MANY)
        with pytest.raises(QueueUnavailable, match="the tasks were registered, but 0 of 1 replicas"):
            client.register("room", STOP, account="acc")
        with pytest.raises(QueueUnavailable, match=r"the room is closing, but 0 of 1 replicas .*: stop it again"):
            client.stop_room("room")
    finally:
        replica.send_signal(signal.SIGCONT)
    queues = ("acc.live.StopMPUTask", "other.trtc.StopStreamIngest\x06\x169")
    assert sum(replicated.primary.llen(f"streamstop.lane.{queue}") for queue in queues) >= 3
    replicated.await_replica()
    assert client.stop_room("room").progress().room == "room"
    assert replicated.has(client.enqueue(STOP, account="acc"))


def test_redis_waits_within_the_calls_time_so_that_a_timeout_does_not_hide_what_was_done(
    replicated: Replicated,
) -> None:
    replicated.replica_process.process.send_signal(signal.SIGSTOP)
    try:
        with bad_network(replicated.primary.connection_pool.connection_kwargs["port"]) as network:
            url = f"redis://127.0.0.1:{network.port}/0"
            with Client(url, timeout=timedelta(seconds=2)) as client:
                network.delay_s = 0.01
                with pytest.raises(QueueUnavailable, match="it was enqueued, but 0 of 1 replicas"):
                    client.enqueue(STOP, account="acc")
    finally:
        replicated.replica_process.process.send_signal(signal.SIGCONT)


def test_without_the_setting_redis_is_not_asked_to_wait(client: Client, real_redis: Redis) -> None:
    real_redis.config_resetstat()
    client.enqueue(STOP, account="acc")
    client.enqueue_many(MANY)
    client.register("room", STOP, account="acc")
    client.stop_room("room")
    client.pause("acc")
    assert "cmdstat_wait" not in real_redis.info("commandstats")
    assert "cmdstat_lpush" in real_redis.info("commandstats"), "the search looks where they are"


@pytest.mark.parametrize("text", ["one", "-1", "1.5", "101"])
def test_an_invalid_number_of_replicas_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSTOP_REDIS_REPLICAS", text)
    with pytest.raises(InvalidSettings, match="STREAMSTOP_REDIS_REPLICAS must be a whole number"):
        Client()
