"""The HTTP service on a socket, in a thread of the test's process: what it holds can be counted."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI

from streamstop import AsyncClient
from streamstop_server.app import create
from streamstop_server.settings import ServerSettings
from streamstop_server.waiting.following import Following
from streamstop_server.waiting.waits import Waits
from streamstop_simulator.demo.embedded_redis import free_port
from tests.support.client_connections import connections_of
from tests.support.http_service import TOKENS, tokens_toml
from tests.support.polling import eventually


@dataclass
class ServedApp:
    """A served application."""

    app: FastAPI
    url: str
    tokens: dict[str, str]
    loop: asyncio.AbstractEventLoop

    def http(self, token: str = "everything") -> httpx.Client:
        """Return an HTTP client with the token of this name."""
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.tokens[token]}"}, timeout=30)

    @contextmanager
    def asked(self, path: str) -> Iterator[None]:
        """Ask for a path in the block, and go without the answer."""
        url = httpx.URL(self.url)
        with socket.create_connection((url.host, url.port or 80)) as client:
            lines = (f"GET {path} HTTP/1.1", f"Host: {url.host}", f"Authorization: Bearer {self.tokens['everything']}")
            client.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
            yield

    @property
    def waits(self) -> Waits:
        """Its open waits."""
        found: Waits = self.app.state.waits
        return found

    @property
    def following(self) -> Following:
        """What it follows."""
        found: Following = self.app.state.following
        return found

    @property
    def listeners(self) -> int:
        """How many waits of its client listen to Redis."""
        client: AsyncClient = self.app.state.client
        return connections_of(client.client).news._listeners

    def tasks(self) -> int:
        """Return how many tasks its event loop has."""

        async def count() -> int:
            return len(asyncio.all_tasks())

        return asyncio.run_coroutine_threadsafe(count(), self.loop).result(10)


@contextmanager
def served(redis_url: str, folder: Path) -> Iterator[ServedApp]:
    """Serve the application until the block ends."""
    tokens = {name: f"ss_{name}" for name in TOKENS}
    file = folder / "tokens.toml"
    file.write_text(tokens_toml(tokens, TOKENS))
    file.chmod(0o600)
    app = create(ServerSettings("127.0.0.1", file, "s" * 32), client=lambda: AsyncClient(redis_url))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=10))
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve()

    thread = threading.Thread(target=asyncio.run, args=[serve()], daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started, "the service serves")
        yield ServedApp(app, f"http://127.0.0.1:{port}", tokens, loops[0])
    finally:
        loops[0].call_soon_threadsafe(app.state.ending.begin)
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive(), "the service has ended"
