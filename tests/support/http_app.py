"""The HTTP service in the test's own process, with a token for each scope, and all of its routes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from streamstop import AsyncClient
from streamstop.tokens import new_token
from streamstop_server.app import create
from streamstop_server.settings import ServerSettings
from tests.support.http_service import TOKENS, tokens_toml

#: Nothing listens here: what needs Redis is answered with 503.
NOWHERE = "redis://127.0.0.1:1/0"
COOKIE = "streamstop_session"
#: The service accepted the request, and then Redis did not answer.
SERVED = httpx.codes.SERVICE_UNAVAILABLE
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
#: As Chromium asks for a screen.
FOR_PEOPLE = {"Accept": "text/html,application/xhtml+xml"}
UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}


@dataclass
class HttpApp:
    """An application that serves, and a client of it that follows no redirect."""

    app: FastAPI
    client: TestClient
    tokens: Mapping[str, str] = field(repr=False)

    def bearer(self, name: str) -> dict[str, str]:
        """Return the header of a token."""
        return {"Authorization": f"Bearer {self.tokens[name]}"}

    def sign_in(self, name: str) -> None:
        """Sign in to the page: the client keeps the session."""
        self.client.cookies.clear()
        answer = self.client.post("/sign-in", data={"token": self.tokens[name]}, headers=SAME_ORIGIN)
        assert answer.status_code == httpx.codes.SEE_OTHER


@contextmanager
def http_app(queue: str | AsyncClient, folder: Path) -> Iterator[HttpApp]:
    """Serve the application. `queue` is the address of its Redis, or its client."""
    tokens = {name: new_token() for name in TOKENS}
    file = folder / "tokens.toml"
    file.write_text(tokens_toml(tokens, TOKENS))
    file.chmod(0o600)
    app = create(
        ServerSettings("127.0.0.1", file, "s" * 32),
        client=lambda: AsyncClient(queue) if isinstance(queue, str) else queue,
    )
    with TestClient(app, base_url="http://127.0.0.1", follow_redirects=False, raise_server_exceptions=False) as client:
        yield HttpApp(app, client, tokens)


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Return every route of the application: method and path."""
    found = {
        (method, context.path or "")
        for context in iter_route_contexts(app.routes)
        for method in context.methods or ()
        if method != "HEAD"
    }
    return sorted(found, key=lambda route: (route[1], route[0]))
