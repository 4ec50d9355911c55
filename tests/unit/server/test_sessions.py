"""Signing in to the page: the session's cookie, its end, wrong tokens."""

import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from streamstop.tokens import new_token
from streamstop_server.access import auth, bounds
from streamstop_server.settings import ServerSettings
from tests.support.http_app import COOKIE, FOR_PEOPLE, SAME_ORIGIN, SERVED, HttpApp
from tests.support.http_service import TOKENS, tokens_toml


def test_a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(service: HttpApp) -> None:
    answer = service.client.post("/sign-in", data={"token": service.tokens["reader"]}, headers=SAME_ORIGIN)
    assert answer.status_code == httpx.codes.SEE_OTHER
    assert answer.headers["location"] == "/"
    parts = [part.strip() for part in answer.headers["set-cookie"].split(";")]
    assert {"HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={auth.SESSION_S}"} <= set(parts)
    assert service.tokens["reader"] not in answer.headers["set-cookie"]
    assert "domain" not in answer.headers["set-cookie"].lower()


def session_of(service: HttpApp, name: str) -> str:
    service.sign_in(name)
    return service.client.cookies[COOKIE]


def is_signed_in(service: HttpApp, session: str) -> bool:
    service.client.cookies.clear()
    answer = service.client.get("/", headers=[(b"cookie", f"{COOKIE}={session}".encode()), (b"accept", b"text/html")])
    assert answer.status_code in {httpx.codes.SEE_OTHER, httpx.codes.SERVICE_UNAVAILABLE}
    return answer.status_code == httpx.codes.SERVICE_UNAVAILABLE  # it went on, to a Redis that does not answer


def test_a_session_cannot_be_changed(service: HttpApp) -> None:
    session = session_of(service, "reader")
    assert is_signed_in(service, session)
    name, ends, signature = session.split(":")
    for forged in (
        f"operator:{ends}:{signature}",
        f"{name}:{int(ends) + 1}:{signature}",
        f"{name}:{ends}:{signature[:-1]}",
        f"{name}:{ends}:",
        f"{name}::{signature}",
        f"nobody:{ends}:{signature}",
        "",
        "::",
        ":::::",
        f"{name}:²:{signature}",
        "9" * 4000,
    ):
        assert not is_signed_in(service, forged), forged


def test_a_session_ends_after_its_time(service: HttpApp, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.time()
    session = session_of(service, "reader")
    ends = int(session.split(":")[1])
    assert int(began) <= ends - auth.SESSION_S <= time.time()
    monkeypatch.setattr(time, "time", lambda: ends - 0.5)
    assert is_signed_in(service, session)
    monkeypatch.setattr(time, "time", lambda: ends + 0.5)
    assert not is_signed_in(service, session)


def test_a_session_and_a_token_end_when_the_token_leaves_the_file(
    service: HttpApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_LOOK_EVERY_S", 0.0)
    session, other = session_of(service, "reader"), session_of(service, "operator")
    reader = {"Authorization": f"Bearer {service.tokens['reader']}"}
    assert service.client.get("/v1/lanes", headers=reader).status_code == httpx.codes.SERVICE_UNAVAILABLE
    left = {name: kind for name, kind in TOKENS.items() if name != "reader"}
    (tmp_path / "tokens.toml").write_text(tokens_toml(service.tokens, left))
    assert not is_signed_in(service, session)
    assert is_signed_in(service, other)
    assert service.client.get("/v1/lanes", headers=reader).status_code == httpx.codes.UNAUTHORIZED
    # Another token of the same name does not know the session either.
    renewed = {**service.tokens, "reader": new_token()}
    (tmp_path / "tokens.toml").write_text(tokens_toml(renewed, TOKENS))
    assert not is_signed_in(service, session)
    # A mistake changes nothing.
    (tmp_path / "tokens.toml").write_text("[tokens")
    assert is_signed_in(service, other)


def test_processes_with_the_same_secret_accept_each_others_sessions_and_others_do_not(
    service: HttpApp, tmp_path: Path
) -> None:
    session = session_of(service, "reader")
    settings: ServerSettings = service.app.state.settings
    authenticator = auth.Authenticator(settings)
    assert authenticator.of_session(session) == authenticator.of_token(service.tokens["reader"])
    assert auth.Authenticator(replace(settings, secret="t" * 40)).of_session(session) is None


def test_the_sign_in_leads_back_to_the_screen_and_nowhere_else(service: HttpApp) -> None:
    answer = service.client.get("/?filter=a%26b", headers=FOR_PEOPLE)
    assert answer.status_code == httpx.codes.SEE_OTHER
    assert answer.headers["location"] == "/sign-in?next=/%3Ffilter%3Da%2526b"
    for back, leads_to in [
        ("/rooms", "/rooms"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/\t/evil.example", "/"),
        ("/\n/evil.example", "/"),
    ]:
        form = {"token": service.tokens["reader"], "next": back}
        answer = service.client.post("/sign-in", data=form, headers=SAME_ORIGIN)
        assert answer.headers["location"] == leads_to


def test_a_token_that_may_not_read_is_told_so_where_it_is_typed(service: HttpApp) -> None:
    answer = service.client.post("/sign-in", data={"token": service.tokens["enqueuer"]}, headers=SAME_ORIGIN)
    assert answer.status_code == httpx.codes.FORBIDDEN
    assert "The token enqueuer has no scope read" in answer.text
    assert "set-cookie" not in answer.headers


def test_sign_ins_are_refused_after_ten_wrong_tokens_from_one_address_for_a_minute(
    service: HttpApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(bounds.MOST_FAILURES):
        wrong = service.client.post("/sign-in", data={"token": new_token()}, headers=SAME_ORIGIN)
        assert wrong.status_code == httpx.codes.UNAUTHORIZED
    for token in (new_token(), service.tokens["reader"]):
        answer = service.client.post("/sign-in", data={"token": token}, headers=SAME_ORIGIN)
        assert answer.status_code == httpx.codes.TOO_MANY_REQUESTS
        assert 0 < int(answer.headers["retry-after"]) <= 61
    # The API goes on: many clients may come from one address, and nobody guesses 256 bits.
    assert service.client.get("/v1/lanes", headers=service.bearer("reader")).status_code == SERVED
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    service.sign_in("reader")
