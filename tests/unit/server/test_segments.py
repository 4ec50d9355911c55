"""Segments: a room's name in a path is what the client has encoded, whatever is in it."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from streamstop_server.http.segments import ROOM, Segments


async def named(request: Request) -> JSONResponse:
    return JSONResponse({"room": request.path_params["room"], "rest": request.scope["path"].count("/")})


def app() -> Segments:
    return Segments(Starlette(routes=[Route(ROOM, named), Route(f"{ROOM}/tasks", named)]))


def asked(path: str) -> Any:
    return TestClient(app()).get(path)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda name: name not in {".", ".."}))
def test_a_name_comes_as_it_was_sent(name: str) -> None:
    for rest in ("", "/tasks"):
        answer = asked(f"/rooms/{quote(name, safe='')}{rest}")
        assert (answer.status_code, answer.json()["room"]) == (200, name)


@pytest.mark.parametrize("name", ["\ufdd0", "\ufdd00", "\ufdd01", "/\ufdd01/", "\ufdd00/\ufdd0"])
def test_the_stand_in_itself_is_a_character_like_others(name: str) -> None:
    assert asked(f"/rooms/{quote(name, safe='')}").json()["room"] == name


def test_a_slash_that_is_not_encoded_divides() -> None:
    assert asked("/rooms/a/b").status_code == 404
    assert asked("/rooms/a/tasks").json()["room"] == "a"
    assert asked("/rooms/a%2Ftasks").json()["room"] == "a/tasks"
