"""Redis goes away from workers at any moment: they reconnect by themselves, and every job ends."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.retry import Retry

from streamstop import Client, Command, Job, QueueUnavailable, Result, Shutdown
from streamstop._core.progress import ShutdownStatus
from streamstop.operations import StopMPUTask
from streamstop_simulator import SimulatorClient, run_in_thread
from streamstop_simulator.demo.embedded_redis import RedisServer, find_redis_server, free_port, redis_server
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.bad_network import BadNetwork, bad_network
from tests.support.polling import eventually
from tests.support.redis_content import SURVIVES_A_KILL
from tests.support.workers import WorkerProcess, accounts_toml, worker
from tests.support.world import ALIYUN

pytestmark = pytest.mark.long

#: The producer's: longer than a process may stand still, and short enough to meet a connection that carries nothing.
PRODUCERS_TIMEOUT = timedelta(seconds=6)
#: Redis may go away three times meanwhile, and each time a call's lease may have to end.
TIMEOUT = 180
LIMITS = {"live.StopMPUTask": 20.0}


def stop(task_id: str) -> StopMPUTask:
    return StopMPUTask(app_id="a", task_id=task_id)


@dataclass
class Scene:
    """A Redis that keeps everything, the simulator, a producer and a worker behind a network."""

    folder: Path
    network: BadNetwork
    client: Client
    simulator: SimulatorClient
    server: RedisServer
    worker: WorkerProcess
    _stack: ExitStack = field(default_factory=ExitStack)

    def kill(self) -> None:
        self.server.process.kill()
        self.server.process.wait()

    def restart(self, *options: str) -> None:
        self.server = self._stack.enter_context(
            redis_server(*(options or SURVIVES_A_KILL), folder=self.folder, port=self.server.port)
        )

    def enqueue(self, name: str, count: int) -> list[Job]:
        commands = [Command(operation=stop(f"{name}-{n}"), account=ALIYUN) for n in range(count)]

        def enqueued() -> list[Job]:
            try:
                return self.client.enqueue_many(commands)
            except QueueUnavailable:
                return []

        return eventually(enqueued, "the queue available")

    def all_end(self, jobs: list[Job], *, but: Result | None = None) -> bool:
        """Wait for the good end of all, or the end `but`, over as many losses of Redis as there are."""
        deadline, left = time.monotonic() + TIMEOUT, {job.id: job for job in jobs}
        while left and time.monotonic() < deadline:
            try:
                for outcome in self.client.outcomes(list(left.values()), timeout=5):
                    assert outcome.ok or outcome.result is but, outcome
                    del left[outcome.job_id]
            except QueueUnavailable:
                time.sleep(0.05)
        return not left

    def serves(self, name: str) -> bool:
        """Whether a job that is enqueued now ends, and the worker is the same process still."""
        return self.all_end(self.enqueue(name, 1)) and self.worker.process.poll() is None


@contextmanager
def scene_in(folder: Path, *, redis_first: bool = True) -> Iterator[Scene]:
    accounts = folder / "accounts.toml"
    port = free_port()
    with ExitStack() as stack:
        simulator = stack.enter_context(run_in_thread())
        simulator.settings(auto_start=True)
        simulator.set_limit(ALIYUN, "live.StopMPUTask", LIMITS["live.StopMPUTask"])
        accounts.write_text(accounts_toml(DEFAULT_ACCOUNTS, simulator.url, LIMITS))
        network = stack.enter_context(bad_network(port))
        url = f"redis://127.0.0.1:{network.port}/0"
        client = stack.enter_context(Client(url, timeout=PRODUCERS_TIMEOUT))
        environ = {"STREAMSTOP_REDIS_TIMEOUT": "1", "STREAMSTOP_CALL_TIMEOUT": "3"}

        def redis() -> RedisServer:
            return stack.enter_context(redis_server(*SURVIVES_A_KILL, folder=folder, port=port))

        server = redis() if redis_first else None
        running = stack.enter_context(worker(url, accounts, folder=folder, environ=environ, ready=redis_first))
        if server is None:
            running.await_line("Cannot connect to redis")
            server = redis()
        yield Scene(folder, network, client, simulator, server, running, stack)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as scene:
        yield scene


def await_calls(scene: Scene, count: int) -> None:
    eventually(lambda: len(scene.simulator.calls()) >= count, f"{count} calls")


def test_a_worker_that_is_there_before_its_redis_serves_when_that_comes(tmp_path: Path) -> None:
    with scene_in(tmp_path, redis_first=False) as scene:
        assert scene.serves("first")


def test_a_redis_that_is_killed_while_all_are_idle(scene: Scene) -> None:
    for number in range(3):
        scene.kill()
        scene.worker.await_line("onnection to broker lost")
        scene.restart()
        assert scene.serves(f"idle-{number}")
    # Celery logs so an error of a step that restarts, with its traceback.
    assert "Error on" not in scene.worker.text()
    assert "Traceback" not in scene.worker.text()


def test_a_redis_that_is_killed_again_and_again_while_jobs_are_in_flight_and_swept(scene: Scene) -> None:
    jobs = scene.enqueue("flight", 200)
    for called in (10, 60, 120):
        await_calls(scene, called)
        scene.kill()
        scene.restart()
    assert scene.all_end(jobs)
    assert scene.serves("after")
    stopped = {str(task.params["TaskId"]) for task in scene.simulator.tasks()}
    assert stopped >= {f"flight-{n}" for n in range(200)}


def jobs(scene: Scene, shutdown: Shutdown) -> int:
    """How many jobs a fan-out has put into lanes."""
    with scene.server.client() as redis:
        return int(redis.hlen(f"streamstop.shutdown.{shutdown.id}:jobs"))


def test_a_redis_that_is_killed_during_a_rooms_fan_out(scene: Scene) -> None:
    commands = [Command(operation=stop(f"room-{n}"), account=ALIYUN) for n in range(1500)]
    scene.client.register_many("room", commands)
    shutdown = scene.client.stop_room("room")
    eventually(lambda: jobs(scene, shutdown) > 0, "the fan-out began")
    scene.kill()
    scene.restart()
    eventually(lambda: jobs(scene, shutdown) == 1500, "the fan-out ended")
    assert shutdown.cancel()
    progress = shutdown.wait(TIMEOUT)
    assert (progress.status, progress.total, progress.ended) == (ShutdownStatus.CANCELLED, 1500, 1500)
    assert scene.worker.process.poll() is None


def test_connections_of_a_worker_that_became_half_open_are_given_up(scene: Scene) -> None:
    assert scene.serves("before")
    scene.network.cut()
    assert scene.serves("after")


def test_a_redis_that_hangs_and_comes_back(scene: Scene) -> None:
    jobs = scene.enqueue("hang", 60)
    scene.server.process.send_signal(signal.SIGSTOP)
    scene.worker.await_line("Redis did not answer")
    scene.server.process.send_signal(signal.SIGCONT)
    assert scene.all_end(jobs)
    assert scene.serves("after")


def test_a_redis_that_is_full_for_a_while(scene: Scene) -> None:
    scene.client.pause(ALIYUN)
    jobs = scene.enqueue("full", 60)
    with scene.server.client() as redis:
        redis.config_set("maxmemory", "1")
        assert scene.client.resume(ALIYUN)
        scene.worker.await_line("out of memory")
        redis.config_set("maxmemory", "0")
    assert scene.all_end(jobs)
    assert scene.serves("after")


def test_a_redis_that_loads_its_data_for_a_while(scene: Scene) -> None:
    jobs = scene.enqueue("load", 40)
    with scene.server.client() as redis:
        for number in range(12):  # Redis answers while it loads after each 2 MB
            redis.set(f"ballast-{number}", os.urandom(2_200_000))
        redis.mset({f"small-{number}": "" for number in range(63)})
        redis.save()
    scene.kill()
    # Snapshots only: what loads is what was saved, for a quarter of a minute at least.
    options = ["--bind", "127.0.0.1", "--port", str(scene.server.port), "--dir", str(scene.folder)]
    slow = ["--key-load-delay", "200000", "--appendonly", "no", "--save", ""]
    process = subprocess.Popen([str(find_redis_server()), *options, *slow], stdout=subprocess.DEVNULL)
    try:
        with Redis(port=scene.server.port, retry=Retry(NoBackoff(), 0)) as redis:
            eventually(lambda: _is_loading(redis), "it loads")
            eventually(lambda: "is loading its data" in _refusal(scene.client), "a producer is told")
            eventually(lambda: _answers(redis), "it has loaded")
        # The snapshot has no end of a job that ended between it and the kill: the vendor no longer knows that task.
        assert scene.all_end(jobs, but=Result.NOT_FOUND)
        assert scene.serves("after")
    finally:
        process.kill()
        process.wait()


def _is_loading(redis: Redis) -> bool:
    try:
        redis.ping()
    except BusyLoadingError:
        return True
    except RedisError:
        return False
    return False


def _refusal(client: Client) -> str:
    """Why a command is not taken; it must not be, as long as nobody has said that Redis is loading."""
    with pytest.raises(QueueUnavailable) as refused:
        client.enqueue(stop("loading"), account=ALIYUN)
    return str(refused.value)


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False


def test_a_primary_that_became_a_replica_and_a_name_that_leads_to_the_new_one(scene: Scene, tmp_path: Path) -> None:
    jobs = scene.enqueue("failover", 60)
    with redis_server("--replicaof", "127.0.0.1", str(scene.server.port)) as other, other.client() as promoted:
        eventually(lambda: promoted.info("replication")["master_link_status"] == "up", "the replica connected")
        with scene.server.client() as demoted:
            promoted.replicaof("NO", "ONE")
            demoted.replicaof("127.0.0.1", str(other.port))
        scene.network.target = other.port
        # A job that was not replicated is called again; this vendor no longer knows the task.
        assert scene.all_end(jobs, but=Result.NOT_FOUND)
        assert scene.serves("after")
