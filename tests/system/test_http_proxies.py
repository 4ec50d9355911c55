"""The HTTP service behind nginx and Caddy, as ``deploy/`` configures them: TLS, streams, sessions of two processes."""

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from streamstop_simulator.child_process import end
from streamstop_simulator.demo.embedded_redis import RedisServer, free_port
from tests.support.certificates import make_authority
from tests.support.http_service import HttpService, http_service
from tests.support.polling import eventually

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/streamstop.conf;
}}
"""


def program(name: str) -> str:
    """Return the path of a reverse proxy; fail where it is missing."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.fail(f"{name} is not installed: apt-get install {'nginx-light' if name == 'nginx' else name}")
    return found


def replaced(text: str, *changes: tuple[str, str]) -> str:
    """Return a configuration with the names and ports of the test; each must be in it."""
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return text


def nginx(folder: Path, port: int, service: int, certificate: Path) -> Sequence[str]:
    """Return the command that runs nginx with our configuration."""
    config = replaced(
        (ROOT / "deploy/nginx/streamstop.conf").read_text(),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("127.0.0.1:8080;", f"127.0.0.1:{service};"),
        ("/etc/ssl/streamstop.crt", str(certificate)),
        ("/etc/ssl/streamstop.key", str(certificate)),
    )
    (folder / "streamstop.conf").write_text(config)
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder))
    return [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def caddy(folder: Path, port: int, service: int, certificate: Path) -> Sequence[str]:
    """Return the command that runs Caddy with our configuration."""
    config = replaced(
        (ROOT / "deploy/caddy/Caddyfile").read_text(),
        ("streamstop.example.com {", f"https://127.0.0.1:{port} {{\n\ttls {certificate} {certificate}"),
        ("127.0.0.1:8080 {", f"127.0.0.1:{service} {{"),
    )
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + config)
    return [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@contextmanager
def proxy(kind: str, folder: Path, service: HttpService) -> Iterator[httpx.Client]:
    """Run a reverse proxy before the service; return a client that trusts its certificate."""
    authority, certificate = make_authority(folder, "proxy")
    certificate.chmod(0o600)
    port, at = free_port(), httpx.URL(service.url).port
    assert at is not None
    command = (nginx if kind == "nginx" else caddy)(folder, port, at, certificate)
    environ = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    with (folder / "proxy.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environ)
    trusted = ssl.create_default_context(cafile=str(authority))
    try:
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trusted, timeout=30) as client:

            def answers() -> bool:
                assert process.poll() is None, (folder / "proxy.log").read_text()
                with suppress(httpx.TransportError):
                    return client.get("/healthz").status_code == httpx.codes.OK
                return False

            eventually(answers, f"{kind} answers")
            yield client
    finally:
        end(process, within_s=10)


@pytest.fixture(scope="module")
def service(redis_process: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    """Run two processes of the service, on an empty Redis: tests of other files may have used it before."""
    with redis_process.client() as redis:
        redis.flushall()
    with http_service(redis_process.url, tmp_path_factory.mktemp("service"), "--processes", "2") as running:
        yield running


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
def test_behind_a_proxy_tls_ends_streams_flow_and_sessions_hold(
    kind: str, service: HttpService, tmp_path: Path
) -> None:
    with proxy(kind, tmp_path, service) as https:
        bearer = {"Authorization": f"Bearer {service.tokens['reader']}"}
        assert https.get("/v1/lanes", headers=bearer).json() == []
        too_large = https.post("/v1/jobs", content=b"[" + b" " * 17 * 2**20 + b"]", headers=bearer)
        assert too_large.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE

        form = {"token": service.tokens["reader"], "next": "/"}
        signed_in = https.post("/sign-in", data=form, headers={"Sec-Fetch-Site": "same-origin"})
        assert signed_in.status_code == httpx.codes.SEE_OTHER
        assert signed_in.headers["location"] == "/"
        cookie = signed_in.headers["set-cookie"]
        assert cookie.startswith("__Host-streamstop_session=")
        assert {"Secure", "HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        assert "strict-transport-security" in signed_in.headers
        # Either process knows the session: connections go to both.
        assert {https.get("/").status_code for _ in range(20)} == {httpx.codes.OK}

        # The stream goes on, so a proxy that waits for its end would show nothing.
        with https.stream("GET", "/live/clock") as stream:
            events = (line for line in stream.iter_lines() if line.startswith("event:"))
            assert [next(events), next(events)] == ["event: changed"] * 2
