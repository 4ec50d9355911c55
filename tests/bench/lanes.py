"""The way of streamstop: its client, and workers with their usual start command."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamstop import Client, Command
from streamstop.operations.aliyun import StopMPUTask
from streamstop_simulator.demo.embedded_redis import RedisServer
from tests.bench.scenario import WORKERS, Scenario
from tests.support.workers import accounts_toml, worker


@dataclass(frozen=True)
class _Running:
    client: Client
    worker_pids: Sequence[int]

    def send(self, account: str, stops: Sequence[StopMPUTask]) -> None:
        self.client.enqueue_many([Command(operation=stop, account=account) for stop in stops])


class LanesWay:
    """streamstop."""

    name = "streamstop"

    @contextmanager
    def run(self, redis: RedisServer, vendor_url: str, scenario: Scenario, folder: Path) -> Iterator[_Running]:
        """Run the workers until the block ends."""
        accounts = folder / "accounts.toml"
        accounts.write_text(accounts_toml(scenario.accounts, vendor_url))
        with ExitStack() as stack:
            processes = [
                stack.enter_context(worker(redis.url, accounts, folder=folder, name=f"w{number}"))
                for number in range(1, WORKERS + 1)
            ]
            client = stack.enter_context(Client(redis.url))
            yield _Running(client, [process.process.pid for process in processes])
