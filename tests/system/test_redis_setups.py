"""Common setups of Redis: behind sentinels, behind TLS, with a password, with a user of its own, and absent."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from streamstop import Client, Job, QueueUnavailable, Result
from streamstop.errors import InvalidSettings
from streamstop.operations import StopMPUTask
from streamstop_simulator import SimulatorClient, run_in_thread
from streamstop_simulator.demo.embedded_redis import free_port, redis_server
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.certificates import make_authority
from tests.support.polling import PATIENT, TIMEOUT_S, eventually
from tests.support.sentinels import MASTER, redis_with_sentinels
from tests.support.tls_proxy import tls_proxy
from tests.support.workers import WorkerProcess, accounts_toml, worker
from tests.support.world import ALIYUN

pytestmark = pytest.mark.long

PASSWORD = "s3cret-of-redis"
#: The timeout of a client that shall run into it.
BRIEF = timedelta(seconds=2)
#: Far beyond that, far below a hang.
HANGS_S = 30
#: A sentinel that stood still trusts its clock only half a minute later, and a failover that fails is tried again.
FAILOVER_S = 240


def stop(task_id: str = "t") -> StopMPUTask:
    return StopMPUTask(app_id="a", task_id=task_id)


@dataclass(frozen=True)
class Pair:
    """A client and a worker that have the same url."""

    client: Client
    worker: WorkerProcess
    simulator: SimulatorClient

    def serves(self, task_id: str = "t") -> bool:
        return self.client.enqueue(stop(task_id), account=ALIYUN).outcome(TIMEOUT_S).result is Result.STOPPED


@contextmanager
def pair(url: str, folder: Path, timeout: timedelta = PATIENT) -> Iterator[Pair]:
    accounts = folder / "accounts.toml"
    with run_in_thread() as simulator, Client(url, timeout=timeout) as client:
        simulator.settings(auto_start=True)
        accounts.write_text(accounts_toml(DEFAULT_ACCOUNTS, simulator.url))
        with worker(url, accounts, folder=folder, environ={"STREAMSTOP_REDIS_TIMEOUT": "1"}) as running:
            yield Pair(client, running, simulator)


def enqueue_as_soon_as_possible(client: Client, task_id: str) -> Job:
    def enqueued() -> Job | None:
        try:
            return client.enqueue(stop(task_id), account=ALIYUN)
        except QueueUnavailable:
            return None

    job = eventually(enqueued, "the queue available", FAILOVER_S)
    assert job is not None
    return job


@pytest.mark.long
def test_a_client_and_a_worker_survive_a_failover_with_one_silent_sentinel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, black_hole: int
) -> None:
    monkeypatch.setenv("STREAMSTOP_REDIS_MASTER", MASTER)
    with (
        redis_with_sentinels(tmp_path) as redis,
        # Each sentinel has a quarter of it.
        pair(f"sentinel://127.0.0.1:{black_hole}/0;{redis.url}", tmp_path, timedelta(seconds=16)) as running,
    ):
        assert running.serves("before")
        with redis.replacing():
            redis.master.process.kill()
            job = enqueue_as_soon_as_possible(running.client, "after")
        assert job.outcome(FAILOVER_S).result is Result.STOPPED
        with redis.replica.client() as promoted:
            assert promoted.info("replication")["role"] == "master"
        assert running.worker.process.poll() is None
        assert running.serves("again")


def test_a_client_and_a_worker_reach_a_redis_with_a_trusted_certificate_over_tls(tmp_path: Path) -> None:
    authority, certificate = make_authority(tmp_path, "known")
    with redis_server() as redis, tls_proxy(certificate, redis.port) as port:
        url = f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={authority}"
        with pair(url, tmp_path) as running:
            assert running.serves()


def test_an_untrusted_certificate_is_refused_over_tls(tmp_path: Path) -> None:
    authority, _ = make_authority(tmp_path, "known")
    _, certificate = make_authority(tmp_path, "unknown")
    with redis_server() as redis, tls_proxy(certificate, redis.port) as port:
        url = f"rediss://:{PASSWORD}@127.0.0.1:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={authority}"
        with Client(url, timeout=PATIENT) as client, pytest.raises(QueueUnavailable, match="certificate") as refused:
            client.enqueue(stop(), account=ALIYUN)
        assert PASSWORD not in str(refused.value)


def test_a_url_with_an_unknown_certificate_check_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="ssl_cert_reqs=required"):
        Client(f"rediss://:{PASSWORD}@127.0.0.1/0?ssl_cert_reqs=sometimes")


@pytest.mark.parametrize("user", ["", "streamstop"])
def test_a_redis_with_a_password_is_reached_and_nothing_shows_the_password(user: str, tmp_path: Path) -> None:
    with redis_server() as redis:
        with redis.client() as admin:
            if user:
                admin.acl_setuser(
                    user, enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], channels=["*"], categories=["+@all"]
                )
                admin.acl_setuser("default", enabled=False)
            else:
                admin.config_set("requirepass", PASSWORD)
        with pair(f"redis://{user}:{PASSWORD}@127.0.0.1:{redis.port}/0", tmp_path) as running:
            assert running.serves()
            redis.process.kill()
            with pytest.raises(QueueUnavailable) as gone:
                running.client.enqueue(stop(), account=ALIYUN)
            running.worker.await_line("onnection to broker lost")
            running.worker.stop()
            shown = [repr(running.client), str(gone.value), repr(gone.value), running.worker.text()]
            assert not [text for text in shown if PASSWORD in text]


def test_a_wrong_password_is_said_without_it(tmp_path: Path) -> None:
    with redis_server() as redis:
        with redis.client() as admin:
            admin.config_set("requirepass", "another")
        with (
            Client(f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0", timeout=PATIENT) as client,
            pytest.raises(
                QueueUnavailable,
                match=r"refused the user name or the password \(AUTH at 127\.0\.0\.1:\d+, database 0\)",
            ) as refused,
        ):
            client.enqueue(stop(), account=ALIYUN)
        assert PASSWORD not in str(refused.value)


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_redis_that_never_answers_is_unavailable_within_the_timeout(scheme: str, black_hole: int) -> None:
    query = "?ssl_cert_reqs=required" if scheme == "rediss" else ""
    with Client(f"{scheme}://127.0.0.1:{black_hole}/0{query}", timeout=BRIEF) as client:
        started = time.monotonic()
        with pytest.raises(QueueUnavailable):
            client.enqueue(stop(), account=ALIYUN)
        assert time.monotonic() - started < HANGS_S


def test_a_redis_that_is_not_there_is_unavailable_at_once() -> None:
    with Client(f"redis://127.0.0.1:{free_port()}/0", timeout=PATIENT) as client:
        started = time.monotonic()
        with pytest.raises(QueueUnavailable):
            client.enqueue(stop(), account=ALIYUN)
        assert time.monotonic() - started < PATIENT.total_seconds() / 2


@pytest.mark.parametrize("silent", [False, True], ids=["refuse", "never answer"])
def test_without_any_reachable_sentinel_the_queue_is_unavailable_within_the_timeout(
    silent: bool, black_hole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMSTOP_REDIS_MASTER", MASTER)
    port = black_hole if silent else free_port()
    with Client(";".join([f"sentinel://127.0.0.1:{port}"] * 30), timeout=BRIEF) as client:
        started = time.monotonic()
        with pytest.raises(QueueUnavailable):
            client.enqueue(stop(), account=ALIYUN)
        assert time.monotonic() - started < HANGS_S  # a timeout for each sentinel would take twice as long
