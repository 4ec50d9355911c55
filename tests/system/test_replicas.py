"""Replicas: with STREAMSTOP_REDIS_REPLICAS, a call returns once that many replicas hold its writes."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
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
from tests.support.polling import PATIENT, eventually

pytestmark = pytest.mark.long

#: For calls that wait in vain: Redis waits for 0.7 of it, and a process may stand still for the rest.
UNCONFIRMED = timedelta(seconds=10)
HANGS_S = 60

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

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the replica confirm nothing during the block."""
        process = self.replica_process.process
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def unconfirmed(self, *calls: Callable[[Client], object]) -> list[str]:
        """Return the errors of calls that are made at the same time, for each waits until its time is nearly over."""
        port = self.primary.connection_pool.connection_kwargs["port"]
        with (
            Client(f"redis://127.0.0.1:{port}/0", timeout=UNCONFIRMED) as client,
            ThreadPoolExecutor(len(calls)) as pool,
        ):
            made = [pool.submit(call, client) for call in calls]
            errors = [call.exception(HANGS_S) for call in made]
        assert {type(error) for error in errors} == {QueueUnavailable}
        return list(map(str, errors))

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
            stack.enter_context(Client(primary.url, timeout=PATIENT)),
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
    client, operation = replicated.client, "live.StopMPUTask"
    client.enqueue(STOP, account="acc")
    with replicated.frozen():
        paused, limited = replicated.unconfirmed(
            lambda client: client.pause("acc"), lambda client: client.set_limit("acc", operation, 2)
        )
        assert re.match(r"acc is paused, but 0 of 1 replicas .*: pause it again", paused)
        assert re.match(r"the limit of acc.live.StopMPUTask is 2 calls/s, but 0 of 1", limited)
        assert [pause.scope for pause in client.pauses()] == ["acc"]
        resumed, cleared = replicated.unconfirmed(
            lambda client: client.resume("acc"), lambda client: client.clear_limit("acc", operation)
        )
        assert re.match(r"acc is resumed, but 0 of 1 replicas .*: resume it again", resumed)
        assert re.match(r"the limit of acc.live.StopMPUTask is cleared, but 0 of 1", cleared)


def test_a_replica_that_does_not_confirm_is_an_error_that_says_what_was_done(replicated: Replicated) -> None:
    client = replicated.client
    with replicated.frozen():
        one, many, registered, stopped = replicated.unconfirmed(
            lambda client: client.enqueue(STOP, account="acc"),
            lambda client: client.enqueue_many(MANY),
            lambda client: client.register("open room", STOP, account="acc"),
            lambda client: client.stop_room("room"),
        )
    assert re.search(r"it was enqueued, but 0 of 1 replicas .* again is harmless", one)
    assert "it was enqueued, but 0 of 1 replicas" in many
    assert "the tasks were registered, but 0 of 1 replicas" in registered
    assert re.search(r"the room is closing, but 0 of 1 replicas .*: stop it again", stopped)
    queues = ("acc.live.StopMPUTask", "other.trtc.StopStreamIngest\x06\x169")
    assert sum(replicated.primary.llen(f"streamstop.lane.{queue}") for queue in queues) >= 3
    replicated.await_replica()
    assert client.stop_room("room").progress().room == "room"
    assert replicated.has(client.enqueue(STOP, account="acc"))


def test_redis_waits_within_the_calls_time_so_that_a_timeout_does_not_hide_what_was_done(
    replicated: Replicated,
) -> None:
    with (
        replicated.frozen(),
        bad_network(replicated.primary.connection_pool.connection_kwargs["port"]) as network,
        Client(f"redis://127.0.0.1:{network.port}/0", timeout=UNCONFIRMED) as client,
    ):
        network.delay_s = 0.01
        with pytest.raises(QueueUnavailable, match="it was enqueued, but 0 of 1 replicas"):
            client.enqueue(STOP, account="acc")


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
