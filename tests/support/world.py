"""A world for end-to-end tests: a real Redis, the simulated vendors, an accounts file and worker processes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis

from streamstop import Client
from streamstop_simulator import SimulatorClient, run_in_thread
from streamstop_simulator.demo.embedded_redis import RedisServer, redis_server
from streamstop_worker.accounts import Account
from tests.support.accounts import DEFAULT_ACCOUNTS, at_vendors
from tests.support.polling import PATIENT, TIMEOUT_S, eventually
from tests.support.redis_content import keys_without_ttl
from tests.support.workers import WorkerProcess, accounts_toml, worker

ALIYUN, OTHER_ALIYUN, TENCENT = (account.name for account in DEFAULT_ACCOUNTS)


@dataclass
class World:
    """The parts of an end-to-end test."""

    server: RedisServer
    redis: Redis
    client: Client
    simulator: SimulatorClient
    accounts: Path
    folder: Path
    environ: Mapping[str, str]
    workers: list[WorkerProcess] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def start_worker(self, *arguments: str, ready: bool = True) -> WorkerProcess:
        """Start one more worker; it is stopped with the world."""
        running = self._stack.enter_context(
            worker(
                self.server.url,
                self.accounts,
                *arguments,
                folder=self.folder,
                environ=self.environ,
                ready=ready,
                name=f"w{len(self.workers) + 1}",
            )
        )
        self.workers.append(running)
        return running

    @contextmanager
    def paused(self, scope: str = "all") -> Iterator[None]:
        """Pause a scope until the block ends: workers take no job of it, so what is enqueued waits in its lane."""
        self.client.pause(scope)
        try:
            yield
        finally:
            self.client.resume(scope)

    def restart_redis(self, *options: str) -> None:
        """Kill Redis, and start one with the same files on the same port; it is stopped with the world."""
        self.server.process.kill()
        self.server.process.wait()
        again = redis_server(*options, folder=self.server.folder, port=self.server.port)
        self.server = self._stack.enter_context(again)

    def await_account(self, name: str, timeout: float = TIMEOUT_S) -> None:
        """Wait until a worker has told producers of the account."""
        eventually(lambda: name in self.client.accounts(), f"a worker published {name!r}", timeout)

    def write_accounts(self, accounts: Sequence[Account], limits: Mapping[str, float] | None = None) -> None:
        """Write the accounts file; every endpoint is the simulator."""
        self.accounts.write_text(accounts_toml(accounts, self.simulator.url, limits))


@contextmanager
def world(
    folder: Path,
    *,
    workers: int = 1,
    accounts: Sequence[Account] = DEFAULT_ACCOUNTS,
    limits: Mapping[str, float] | None = None,
    environ: Mapping[str, str] | None = None,
    redis_options: Sequence[str] = (),
) -> Iterator[World]:
    """Make a world of its own; with `limits`, calls per second by operation, for its accounts and at the vendors.

    At its end none of our keys may be in its Redis that would stay for ever.
    """
    with ExitStack() as stack:
        server = stack.enter_context(redis_server(*redis_options))
        simulator = stack.enter_context(run_in_thread(at_vendors(accounts)))
        made = World(
            server=server,
            redis=stack.enter_context(server.client()),
            client=stack.enter_context(Client(server.url, timeout=PATIENT)),
            simulator=simulator,
            accounts=folder / "accounts.toml",
            folder=folder,
            environ=environ or {},
            _stack=stack,
        )
        made.write_accounts(accounts, limits)
        for account in accounts:
            for operation, limit in (limits or {}).items():
                if operation.startswith("trtc.") == (account.vendor == "tencent"):
                    simulator.set_limit(account.name, operation, limit)
        for _ in range(workers):
            made.start_worker()
        yield made
        assert keys_without_ttl(made.redis) == []
