"""What people type into the page's filters and searches, as the client takes it."""

from datetime import UTC, datetime, timedelta

import pytest

from streamstop import Matching, Result
from streamstop_server.access.tokens import EVERYBODY, Caller, Scope
from streamstop_server.http.problems import Problem
from streamstop_server.page.jobs import params_of
from streamstop_server.page.letter_filters import filters_of, matching_of, query_of
from streamstop_server.page.shell import job_path, room_path

SOME = Caller("some", frozenset(Scope), frozenset({"live-cn"}))


def test_filters_are_what_is_filled_in() -> None:
    filters = filters_of({"account": " live-cn ", "code": "", "room": "a & b", "act": "drop", "other": "x"})
    assert filters == {"account": "live-cn", "room": "a & b"}
    assert query_of(filters, after="1~x") == "/dead-letters?account=live-cn&room=a+%26+b&after=1~x"
    assert query_of({}) == "/dead-letters"


def test_filters_select_letters_of_the_accounts_that_a_token_covers() -> None:
    assert matching_of(EVERYBODY, {}) == Matching()
    given = {"result": "refused", "code": "Forbidden.RAM", "older_than": "60", "younger_than": "3600"}
    assert matching_of(SOME, given) == Matching(
        accounts=SOME.accounts,
        result=Result.REFUSED,
        code="Forbidden.RAM",
        older_than=timedelta(minutes=1),
        younger_than=timedelta(hours=1),
    )
    assert matching_of(EVERYBODY, {"result": "unreadable"}) == Matching(readable=False)


def test_letters_that_come_after_the_question_are_left_out() -> None:
    asked = datetime(2026, 1, 1, tzinfo=UTC)
    expected = Matching(older_than=timedelta(minutes=1), died_by=asked)
    assert matching_of(EVERYBODY, {"older_than": "60"}, died_by=asked) == expected


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("result", "stopped"),
        ("result", "<b>"),
        ("older_than", "soon"),
        ("older_than", "nan"),
        ("older_than", "0"),
        ("older_than", "1e300"),
        ("younger_than", "-1"),
        ("younger_than", "inf"),
    ],
)
def test_a_filter_that_cannot_be_is_named(field: str, text: str) -> None:
    with pytest.raises(Problem) as refused:
        matching_of(EVERYBODY, {field: text})
    assert (refused.value.status, refused.value.field) == (422, field)


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("relay-1", "relay-1"),
        ("TaskId=relay-1", {"TaskId": "relay-1"}),
        ("AppId=app TaskId='a b'", {"AppId": "app", "TaskId": "a b"}),
        ("TaskId=a=b", {"TaskId": "a=b"}),
        ("it's", "it's"),
        ('<img src=x onerror="1">', '<img src=x onerror="1">'),
    ],
)
def test_a_stream_task_is_typed_as_parameters_or_as_its_id(text: str, params: dict[str, str] | str) -> None:
    assert params_of(text) == params


@pytest.mark.parametrize(
    ("room", "path"),
    [
        ("a/b", "/rooms/a%2Fb"),
        ("50% é", "/rooms/50%25%20%C3%A9"),
        ("..", "/rooms?room=.."),
        (".", "/rooms?room=."),
        ("...", "/rooms/..."),
    ],
)
def test_a_room_has_a_path_that_browsers_keep(room: str, path: str) -> None:
    assert room_path(room) == path
    assert room_path(room, act=None, cursor="1.a").endswith(("?cursor=1.a", "&cursor=1.a"))


def test_a_job_of_another_program_has_a_path() -> None:
    assert job_path("a/b?c") == "/jobs/a%2Fb%3Fc"
