"""A Redis master, its replica, and sentinels that promote the replica when the master is gone."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from streamstop_simulator.demo.embedded_redis import RedisServer, find_redis_server, free_port, redis_server
from tests.support.polling import eventually

MASTER = "lanes"
_PATIENCE_MS = 60_000
_CONFIG = """\
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor {master} 127.0.0.1 {master_port} 2
sentinel down-after-milliseconds {master} {patience_ms}
sentinel failover-timeout {master} 5000
"""


@dataclass(frozen=True)
class RedisWithSentinels:
    """A Redis master with three sentinels."""

    master: RedisServer
    replica: RedisServer
    sentinel_ports: Sequence[int]

    @property
    def url(self) -> str:
        """The sentinels' url, as kombu takes it."""
        return ";".join(f"sentinel://127.0.0.1:{port}/0" for port in self.sentinel_ports)

    def await_agreement(self) -> None:
        """Wait until every sentinel knows the replica and the two others."""
        eventually(lambda: all(map(self._knows_all, self.sentinel_ports)), "each sentinel knows the others")

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Let the sentinels replace a master that is silent for a second; before and after, one may stand still."""
        self._set_patience(1000)
        yield
        self._set_patience(_PATIENCE_MS)

    def _set_patience(self, milliseconds: int) -> None:
        for port in self.sentinel_ports:
            with Redis(port=port) as sentinel:
                sentinel.sentinel_set(MASTER, "down-after-milliseconds", milliseconds)

    def _knows_all(self, port: int) -> bool:
        with Redis(port=port) as sentinel:
            try:
                state: dict[str, Any] = sentinel.sentinel_master(MASTER)
            except RedisError:
                return False
        return (state["num-slaves"], state["num-other-sentinels"]) == (1, len(self.sentinel_ports) - 1)


@contextmanager
def redis_with_sentinels(folder: Path) -> Iterator[RedisWithSentinels]:
    """Run the master, the replica and the sentinels until the block ends."""
    with ExitStack() as stack:
        master = stack.enter_context(redis_server())
        replica = stack.enter_context(redis_server("--replicaof", "127.0.0.1", str(master.port)))
        ports = [free_port() for _ in range(3)]
        for port in ports:
            stack.enter_context(_sentinel(folder / f"sentinel-{port}", port, master.port))
        guarded = RedisWithSentinels(master, replica, ports)
        guarded.await_agreement()
        yield guarded


@contextmanager
def _sentinel(folder: Path, port: int, master_port: int) -> Iterator[None]:
    folder.mkdir()
    config = folder / "sentinel.conf"  # a sentinel rewrites its file
    config.write_text(
        _CONFIG.format(port=port, folder=folder, master=MASTER, master_port=master_port, patience_ms=_PATIENCE_MS)
    )
    with (folder / "sentinel.log").open("wb") as log:
        command = [str(find_redis_server()), str(config), "--sentinel"]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()
