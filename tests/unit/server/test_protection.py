"""What protects the service: headers, sessions, wrong tokens, other sites, bodies, names for this machine."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from streamstop import AsyncClient
from streamstop.tokens import token_hash
from streamstop_server.access import bounds
from streamstop_server.app import create
from streamstop_server.settings import ServerSettings
from tests.support.http_app import FOR_PEOPLE, NOWHERE, SAME_ORIGIN, SERVED, HttpApp, http_app


@pytest.mark.parametrize("path", ["/", "/sign-in", "/v1/lanes", "/healthz", "/nothing-here", "/openapi.json"])
def test_every_answer_forbids_frames_scripts_from_elsewhere_and_caches(path: str, service: HttpApp) -> None:
    answer = service.client.get(path, headers=FOR_PEOPLE)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


def test_assets_are_kept_for_ever_under_names_that_change_with_them(service: HttpApp) -> None:
    page = service.client.get("/sign-in", headers=FOR_PEOPLE).text
    names = [part.split('"')[0] for part in page.split('="') if part.startswith("/static/")]
    assert len(names) == 5
    for name in names:
        answer = service.client.get(name)
        assert answer.status_code == httpx.codes.OK
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"].split(";")[0] in {"text/css", "text/javascript", "image/svg+xml"}
        folder, _, file = name.rpartition("/")
        assert service.client.get(f"{folder[:-1]}x/{file}").status_code == httpx.codes.NOT_FOUND
    assert service.client.get("/static/0/..%2f..%2fapp.py").status_code == httpx.codes.NOT_FOUND


def test_refusals_say_what_rfc_6750_says(service: HttpApp) -> None:
    none = service.client.get("/v1/lanes")
    assert none.headers["www-authenticate"] == 'Bearer realm="streamstop"'
    wrong = service.client.get("/v1/lanes", headers={"Authorization": "Bearer x"})
    assert wrong.headers["www-authenticate"] == 'Bearer realm="streamstop", error="invalid_token"'
    narrow = service.client.get("/v1/lanes", headers=service.bearer("enqueuer"))
    assert narrow.status_code == httpx.codes.FORBIDDEN
    assert narrow.headers["www-authenticate"] == ('Bearer realm="streamstop", error="insufficient_scope", scope="read"')


def test_bodies_have_a_size_a_type_and_a_time(service: HttpApp, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = service.bearer("everything")
    large = service.client.post("/v1/lanes", content=b" " * (bounds.LARGEST_BODY + 1), headers=headers)
    assert large.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    text = service.client.post("/v1/lanes", content=b"{}", headers={**headers, "Content-Type": "text/plain"})
    assert text.status_code == httpx.codes.UNSUPPORTED_MEDIA_TYPE
    assert {answer.headers["content-type"] for answer in (large, text)} == {"application/problem+json"}


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_no_other_site_may_read_unless_it_is_named(origin: str, service: HttpApp, tmp_path: Path) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "GET", **service.bearer("reader")}
    for answer in (service.client.options("/v1/lanes", headers=asked), service.client.get("/v1/lanes", headers=asked)):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    settings = replace(service.app.state.settings, origins=("https://ops.example.com",))
    with TestClient(create(settings, client=lambda: AsyncClient(NOWHERE)), base_url="http://127.0.0.1") as named:
        refused = named.options("/v1/lanes", headers=asked)
        assert "access-control-allow-origin" not in refused.headers
        allowed = named.options("/v1/lanes", headers={**asked, "Origin": "https://ops.example.com"})
        assert allowed.headers["access-control-allow-origin"] == "https://ops.example.com"
        assert "access-control-allow-credentials" not in allowed.headers


@pytest.mark.parametrize(
    ("host", "status"), [("localhost", 503), ("127.0.0.1:8080", 503), ("[::1]:8080", 503), ("evil.example", 403)]
)
def test_without_tokens_it_answers_only_to_names_of_this_machine(host: str, status: int) -> None:
    settings = ServerSettings("127.0.0.1", None, "s" * 32)
    with TestClient(create(settings, client=lambda: AsyncClient(NOWHERE))) as client:
        for path in ("/v1/lanes", "/"):
            answer = client.get(path, headers={"Host": host, **FOR_PEOPLE})
            assert answer.status_code == status, (path, answer.text)


def test_errors_are_problems_for_programs_and_screens_for_people(service: HttpApp) -> None:
    for method, path, status in [
        ("GET", "/nothing", 404),
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/lanes", 405),
        ("GET", "/v1/lanes", 503),
    ]:
        answer = service.client.request(method, path, headers=service.bearer("reader"))
        assert answer.status_code == status
        assert answer.headers.get("allow") == ("GET, HEAD" if status == httpx.codes.METHOD_NOT_ALLOWED else None)
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status
        assert problem["type"].startswith("urn:streamstop:problem:")
        assert {"title", "detail"} <= problem.keys()
    page = service.client.get("/nothing", headers=FOR_PEOPLE)
    assert page.status_code == httpx.codes.NOT_FOUND
    assert page.headers["content-type"].startswith("text/html")


def test_a_redis_that_does_not_answer_is_503_with_retry_after_and_without_its_password(tmp_path: Path) -> None:
    with http_app("redis://:hush-hush@127.0.0.1:1/0", tmp_path) as service:
        answer = service.client.get("/v1/lanes", headers=service.bearer("reader"))
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["may_have_been_done"] is False
        assert "127.0.0.1" in answer.json()["detail"]
        assert "hush" not in answer.text


def test_the_hash_of_a_token_is_compared_and_never_the_token(service: HttpApp) -> None:
    known = service.app.state.authenticator.tokens
    for name, token in service.tokens.items():
        assert known.named(name)[0] == token_hash(token)
        assert token not in repr(vars(known))


def test_without_tokens_a_page_of_another_site_changes_nothing(tmp_path: Path) -> None:
    settings = ServerSettings("127.0.0.1", None, "s" * 32, origins=("https://ops.example.com",))
    acts = [("POST", "/v1/rooms/r/shutdown"), ("POST", "/v1/dead-letters/l:drop"), ("DELETE", "/v1/pauses/all")]
    with TestClient(create(settings, client=lambda: AsyncClient(NOWHERE)), base_url="http://localhost") as client:
        for method, path in acts:
            for site in ("cross-site", "same-site"):
                foreign = {"Sec-Fetch-Site": site, "Origin": "https://evil.example"}
                answer = client.request(method, path, headers=foreign)
                assert (answer.status_code, answer.json()["type"]) == (403, "urn:streamstop:problem:cross-site")
                named = {"Sec-Fetch-Site": site, "Origin": "https://ops.example.com"}
                assert client.request(method, path, headers=named).status_code == SERVED
            for own in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
                assert client.request(method, path, headers=own).status_code == SERVED


@pytest.mark.parametrize("path", ["/v1/jobs", "/sign-in"])
def test_who_has_no_token_sends_no_large_body(path: str, service: HttpApp) -> None:
    large = b" " * (bounds.LARGEST_FORM + 1)
    sent: list[bytes | Iterator[bytes]] = [large, iter([large])]
    for content in sent:  # with its length, and in chunks
        headers = {"Authorization": "Bearer x", "Content-Type": "application/json", **SAME_ORIGIN}
        answer = service.client.post(path, content=content, headers=headers)
        assert answer.status_code == (401 if path.startswith("/v1/") else 413), answer.text
    known = service.bearer("enqueuer") | {"Content-Type": "application/json"}
    assert service.client.post("/v1/jobs", content=large, headers=known).status_code == httpx.codes.BAD_REQUEST


def test_an_unexpected_error_has_the_headers_too_and_its_status_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_client: AsyncClient) -> None:
        raise ZeroDivisionError("hush")

    monkeypatch.setattr(AsyncClient, "accounts", broken)
    with http_app(NOWHERE, tmp_path) as service, capture_logs() as lines:
        for path in ("/v1/accounts", "/readyz"):
            answer = service.client.get(path, headers=service.bearer("everything"))
            assert (answer.status_code, answer.headers["x-frame-options"]) == (500, "DENY")
            assert answer.headers["cache-control"] == "no-store"
            assert "hush" not in answer.text
    assert [line["status"] for line in lines if line["event"] == "request"] == [500, 500]


def test_whoever_asks_whether_it_is_ready_is_not_told_where_redis_is(tmp_path: Path) -> None:
    with http_app(NOWHERE, tmp_path) as service, capture_logs() as lines:
        answer = service.client.get("/readyz")
        assert (answer.status_code, answer.json()["detail"]) == (SERVED, "Redis does not answer")
        assert answer.headers["retry-after"] == "2"
        known = service.client.get("/v1/lanes", headers=service.bearer("reader")).json()
        assert "127.0.0.1:1" in known["detail"]
    (line,) = [line for line in lines if line["event"] == "not ready"]
    assert "127.0.0.1:1" in line["reason"]
