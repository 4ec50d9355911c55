"""What a run needs: a Redis that can be killed, the simulated vendors, proxies, and the workers behind them."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis

from streamstop_simulator import SimulatorClient, run_in_process
from streamstop_simulator.accounts import load_accounts
from streamstop_simulator.demo.embedded_redis import RedisServer, redis_server
from streamstop_worker.accounts import Account
from tests.support.workers import accounts_toml
from tests.torture.chronicle import Chronicle
from tests.torture.fleet import Fleet
from tests.torture.people import People
from tests.torture.proxy import Proxy, proxies
from tests.torture.schedule import clock_errors

REDIS_OPTIONS = ("--appendonly", "yes", "--appendfsync", "everysec")
#: The call timeout. A lease is 5 s longer.
CALL_TIMEOUT_S = 3.0
LEASE_S = CALL_TIMEOUT_S + 5.0
#: The delay of every vendor answer, so that a call takes some time.
VENDOR_LATENCY_MS = 40
_ENVIRON = {
    "STREAMSTOP_CALL_TIMEOUT": f"{CALL_TIMEOUT_S:g}",
    "STREAMSTOP_VERIFY_TIMEOUT": "3",
    "STREAMSTOP_REDIS_TIMEOUT": "2",
}


class MortalRedis:
    """A redis-server that can be killed and started again, in the same folder and on the same port."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self.server: RedisServer = self._stack.enter_context(redis_server(*REDIS_OPTIONS, folder=folder))

    def kill(self, seconds: float) -> None:
        """Kill it, and start it again after `seconds`; return when it answers."""
        with self._lock:
            self.server.process.kill()
            self.server.process.wait()
            time.sleep(seconds)
            again = redis_server(*REDIS_OPTIONS, folder=self._folder, port=self.server.port)
            self.server = self._stack.enter_context(again)

    def close(self) -> None:
        """End it."""
        self._stack.close()


class VendorFaults:
    """The fault rules that are in force at the simulator. The simulator can only drop all rules at once."""

    def __init__(self, simulator: SimulatorClient) -> None:
        self._simulator = simulator
        self._lock = threading.Lock()
        self._rules: list[dict[str, Any]] = []

    @contextmanager
    def rule(self, **rule: Any) -> Iterator[None]:
        """Add a rule until the block ends; see :meth:`SimulatorClient.add_fault`."""
        with self._lock:
            self._rules.append(rule)
            self._simulator.add_fault(**rule)
        try:
            yield
        finally:
            with self._lock:
                self._rules.remove(rule)
                self._simulator.clear_faults()
                for other in self._rules:
                    self._simulator.add_fault(**other)


@dataclass
class Stage:
    """All parts that a run needs."""

    folder: Path
    #: The folder of the trigger files that arm kill points.
    triggers: Path
    redis: MortalRedis
    simulator: SimulatorClient
    vendors: VendorFaults
    fleet: Fleet
    chronicle: Chronicle
    people: People
    #: The proxy between the producers and Redis.
    producers: Proxy
    _stack: ExitStack = field(default_factory=ExitStack)

    def client(self) -> Redis:
        """Return a new client of Redis, without a proxy."""
        return Redis(port=self.redis.server.port, socket_timeout=60, socket_connect_timeout=60)


def write_secretly(file: Path, text: str) -> Path:
    """Write a file that only its owner can read."""
    file.touch(mode=0o600)
    file.write_text(text)
    return file


@contextmanager
def stage(
    folder: Path,
    chronicle: Chronicle,
    workers: int,
    accounts: Sequence[Account],
    limits: Mapping[str, float],
    *,
    seed: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Stage]:
    """Start all parts, without any task. Without a seed, every worker's clock is right."""
    triggers = folder / "triggers"
    triggers.mkdir()
    with ExitStack() as stack:
        redis = MortalRedis(folder / "redis")
        stack.callback(redis.close)
        known = write_secretly(
            folder / "accounts-at-the-vendors.toml", accounts_toml(accounts, "http://127.0.0.1:1", limits)
        )
        simulator = stack.enter_context(run_in_process(accounts_file=known))
        simulator.settings(latency_ms=VENDOR_LATENCY_MS)
        made = stack.enter_context(proxies())
        fleet = Fleet(
            folder,
            triggers,
            chronicle,
            {**_ENVIRON, **(environ or {})},
            lambda worker, life: 0.0 if seed is None else clock_errors(seed, worker, life),
        )
        stack.callback(fleet.close)
        vendor_port = int(simulator.url.rpartition(":")[2])
        for number in range(workers):
            to_redis, to_vendor = made.to(redis.server.port), made.to(vendor_port)
            toml = accounts_toml(accounts, f"http://127.0.0.1:{to_vendor.port}", limits)
            own = write_secretly(folder / f"accounts-{number}.toml", toml)
            fleet.add(to_redis, to_vendor, own)
        fleet.await_ready(60)
        fleet.watch()
        people = People(f"redis://127.0.0.1:{redis.server.port}/0", simulator, load_accounts(known, {}))
        to_redis = made.to(redis.server.port)
        yield Stage(folder, triggers, redis, simulator, VendorFaults(simulator), fleet, chronicle, people, to_redis)
