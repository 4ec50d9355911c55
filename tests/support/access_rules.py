"""A Redis with the users and access rules of the documentation."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from streamstop import Client
from streamstop._core.lane import Lane
from streamstop.operations import StopMPUTask
from streamstop_simulator import SimulatorClient
from streamstop_simulator.demo.embedded_redis import RedisServer, redis_server
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.polling import PATIENT, eventually
from tests.support.workers import WorkerProcess, accounts_toml, worker
from tests.support.world import ALIYUN

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "redis.md"
PASSWORD = "s3cret-of-redis"
PRODUCER, ROOMS, WORKER = "streamstop-producer", "streamstop-rooms", "streamstop-worker"
OPERATOR, SERVER = "streamstop-operator", "streamstop-server"
LANE = Lane(ALIYUN, "live.StopMPUTask")


@contextmanager
def restricted_worker(
    restricted: "RestrictedRedis", simulator: SimulatorClient, folder: Path, *arguments: str
) -> Iterator[WorkerProcess]:
    """Run a worker under the page's rules until it has shown itself; `folder` gets its accounts file."""
    accounts = folder / "accounts.toml"
    accounts.write_text(accounts_toml(DEFAULT_ACCOUNTS, simulator.url))
    accounts.chmod(0o600)
    with (
        worker(restricted.url(WORKER), accounts, *arguments, folder=folder) as process,
        restricted.client(OPERATOR) as operator,
    ):
        eventually(lambda: operator.workers() and ALIYUN in operator.accounts(), "a sign of life, and the accounts")
        yield process


def stop(task_id: str) -> StopMPUTask:
    return StopMPUTask(app_id="a", task_id=task_id)


def rules() -> dict[str, list[str]]:
    """Return the page's rules by user."""
    lines = re.findall(r"^user (\S+) (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return {user: rule.replace("<password>", PASSWORD).split() for user, rule in lines}


def rule_from_redis_7() -> list[str]:
    """Return the rule for rooms as the page narrows it from Redis 7 on."""
    found = re.search(r"From Redis 7 on, `(\S+)` in place of\s+`(\S+)`[^`]*`([^`]+)`", PAGE.read_text())
    assert found is not None
    records, instead_of, work = found.groups()
    rule = rules()[ROOMS]
    return [*(records if word == instead_of else word for word in rule), *work.split()]


@dataclass(frozen=True)
class RestrictedRedis:
    """A Redis with the page's users; the default user is off."""

    server: RedisServer
    admin: Redis

    def url(self, user: str, password: str = PASSWORD) -> str:
        return f"redis://{user}:{password}@127.0.0.1:{self.server.port}/0"

    def client(self, user: str, password: str = PASSWORD) -> Client:
        """Return a user's client that waits for a Redis which stands still for seconds."""
        return Client(self.url(user, password), timeout=PATIENT)

    def redis(self, user: str) -> Redis:
        return Redis(port=self.server.port, username=user, password=PASSWORD)

    def denied(self) -> list[str]:
        """What Redis has refused, as ``user: object``."""
        entries: Any = self.admin.acl_log()
        return [f"{entry['username']}: {entry['object']} {entry['count']}" for entry in entries]


@contextmanager
def restricted_redis() -> Iterator[RestrictedRedis]:
    with redis_server() as server, server.client() as first:
        acl: Any = first.execute_command  # redis-py gives it no types
        acl("ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all")
        for user, rule in rules().items():
            acl("ACL", "SETUSER", user, *rule)
        acl("ACL", "SETUSER", "default", "off")
        with Redis(port=server.port, username="admin", password="admin") as admin:
            yield RestrictedRedis(server, admin)
