"""The service's own secrets: tokens, wrong tokens, sessions, the secret that signs them, Redis' password.

Every route is asked, with each of them where a client could put it, while Redis answers and while it does not. None is
in an answer, in the log at ``DEBUG``, or in Redis.
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from streamstop import AsyncClient, Client, Command
from streamstop.operations import StopMPUTask
from streamstop.tokens import new_token
from streamstop_server.app import create
from streamstop_server.settings import ServerSettings
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.support.http_app import FOR_PEOPLE, SAME_ORIGIN, routes
from tests.support.http_service import HttpService, http_service
from tests.support.planted_secrets import PASSWORD, contains_secret
from tests.support.redis_content import everything_in

pytestmark = pytest.mark.long

SECRET = "session+secret/planted==0123456789abcdef"
_STREAMS = re.compile(r"/live/|/events$")


def all_routes() -> list[tuple[str, str]]:
    """Return the routes of the application; the parameters of paths have a value."""
    app = create(ServerSettings("127.0.0.1", None, "s" * 40), client=AsyncClient)
    return [(method, re.sub(r"\{[^}]+\}", "live-cn", path)) for method, path in routes(app)]


def answers(service: HttpService, http: httpx.Client, wrong: str) -> list[str]:
    """Ask every route with tokens where clients put them, and return all answers with their headers."""
    found = []
    for method, path in all_routes():
        if _STREAMS.search(path) and method == "GET":
            continue
        for headers in (
            {"Authorization": f"Bearer {service.tokens['everything']}"},
            {"Authorization": f"Bearer {service.tokens['everything']}", **FOR_PEOPLE},
            {"Authorization": f"Basic {wrong}"},
            {**FOR_PEOPLE, **SAME_ORIGIN, "HX-Request": "true"},
        ):
            body: Any = {"json": {"account": "live-cn"}} if method in {"POST", "PUT", "DELETE"} else {}
            answer = http.request(method, path, headers=headers, **body)
            found.append(f"{answer.status_code} {answer.headers} {answer.text}")
    return found


def test_no_secret_of_the_service_is_shown_logged_or_stored(tmp_path: Path) -> None:
    environ = {"STREAMSTOP_SERVER_SECRET": SECRET, "STREAMSTOP_LOG_LEVEL": "DEBUG", "STREAMSTOP_REDIS_TIMEOUT": "1"}
    wrong = new_token()
    with redis_server() as redis_process, redis_process.client() as redis:
        redis.execute_command("ACL", "SETUSER", "planted", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        url = f"redis://planted:{quote(PASSWORD, safe='')}@127.0.0.1:{redis_process.port}/0"
        with Client(url) as client:
            stop = StopMPUTask(app_id="app", task_id="t")
            client.enqueue_many([Command(operation=stop, account="live-cn")])
            client.register("live-cn", stop, account="live-cn")
        with (
            http_service(url, tmp_path, environ=environ) as service,
            httpx.Client(base_url=service.url, timeout=30) as http,
        ):
            signed_in = http.post("/sign-in", data={"token": service.tokens["everything"]}, headers=SAME_ORIGIN)
            assert signed_in.status_code == httpx.codes.SEE_OTHER
            (session,) = http.cookies.values()
            texts = answers(service, http, wrong)
            texts.append(http.post("/sign-in", data={"token": wrong}, headers=SAME_ORIGIN).text)
            texts.append(http.get("/v1/lanes", headers={"Authorization": f"Bearer {wrong}"}).text)
            # A token in a URL belongs to nobody, and the log leaves queries out.
            texts.append(http.get("/v1/lanes", params={"access_token": service.tokens["reader"]}).text)
            kept = everything_in(redis)
            redis_process.process.kill()
            redis_process.process.wait()
            texts += answers(service, http, wrong)
            assert any(text.startswith("503 ") for text in texts)
            texts.append(service.text())
            secrets = [*service.tokens.values(), wrong, session, SECRET, PASSWORD]
            assert "request" in service.text()
    shown = [
        (secret[:12], text[:300]) for text in texts for secret in secrets if contains_secret(secret, text.encode())
    ]
    assert shown == []
    assert [secret[:12] for secret in secrets if contains_secret(secret, kept)] == []
