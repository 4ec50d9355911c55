"""``streamstop events`` and ``errors``: what they print of plain data, and what they refuse."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from streamstop import Client, ErrorCount, Event, EventKind
from streamstop.cli._shared.output import json_line
from streamstop.cli.journal_output import errors_table, errors_total, event_line
from tests.support.offline_cli import NOWHERE, run

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
LONG = "x" * 300


def event(kind: EventKind | str = EventKind.RESTING, **fields: Any) -> Event:
    return Event(id="1-0", at=AT, kind=kind, **fields)


def count(code: str = "Throttling.User", number: int = 12, **fields: Any) -> ErrorCount:
    where = {"account": "live-cn", "operation": "live.StopMPUTask"} | fields
    return ErrorCount(code=code, count=number, at=AT, **where)


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (
            event(account="live-cn", operation="live.StopMPUTask", text="Throttling.User: rests 1 s"),
            "01-02 03:04:05Z  resting    live-cn live.StopMPUTask  Throttling.User: rests 1 s",
        ),
        (
            event(EventKind.PAUSED, account="live-cn", by="ops@host", text="incident"),
            "01-02 03:04:05Z  paused     live-cn  incident  (by ops@host)",
        ),
        (
            event(EventKind.WORKER_LOST, by="celery@host", text="no sign of life"),
            "01-02 03:04:05Z  worker_lost  celery@host  no sign of life",
        ),
        (
            event(EventKind.DROPPED, by="ops@host", text="3 dead letters are dropped"),
            "01-02 03:04:05Z  dropped    3 dead letters are dropped  (by ops@host)",
        ),
        (event("upgraded", text="\x1b[2J\u202e"), "01-02 03:04:05Z  upgraded   \\x1b[2J\\u202e"),
    ],
)
def test_an_event_is_one_line_of_80_columns(shown: Event, line: str) -> None:
    assert event_line(shown, 80) == line
    assert len(line) <= 80


def test_a_long_event_is_wrapped_on_a_terminal_and_one_line_elsewhere() -> None:
    requeue = "streamstop dead requeue --account live-cn --code InvalidAccessKeyId.NotFound"
    shown = event_line(event(EventKind.HELD, account="live-cn", text=f"its jobs wait; requeue: {requeue}"), 80)
    assert max(map(len, shown.splitlines())) <= 80
    assert requeue in " ".join(shown.split()), "a person on call needs the command"
    long = event(account="live-cn", text=LONG)
    assert "\n" not in event_line(long)
    assert LONG in event_line(long)
    assert json.loads(json_line(long)) == {
        "id": "1-0",
        "at": "2026-01-02T03:04:05.678000Z",
        "kind": "resting",
        "account": "live-cn",
        "operation": None,
        "by": None,
        "text": LONG,
    }


def test_errors_are_a_table_with_the_newest_message_and_request() -> None:
    counts = [
        count(
            "InvalidAccessKeyId.NotFound", 1280, operation="live.StopLivePullToPush", request_id="4C1F", message="no"
        ),
        count(message="Request was denied due to user flow control.", request_id="R" * 36),
        count("ConnectTimeout", 1, account="trtc-sg", operation="trtc.StopStreamIngest"),
        count("other", 1, account="", operation=""),
    ]
    assert list(errors_table(counts, 80)) == [
        "COUNT  CODE                         ACCOUNT  OPERATION                LAST SEEN",
        " 1280  InvalidAccessKeyId.NotFound  live-cn  live.StopLivePullToPush  03:04:05Z",
        "       no (request 4C1F)",
        "   12  Throttling.User              live-cn  live.StopMPUTask         03:04:05Z",
        f"       Request was denied due to… (request {'R' * 36})",
        "    1  ConnectTimeout               trtc-sg  trtc.StopStreamIngest    03:04:05Z",
        "    1  other                        -        -                        03:04:05Z",
    ]
    assert errors_total(counts) == "1294 errors"


def test_what_a_vendor_writes_cannot_move_the_cursor_and_is_cut_to_the_terminal() -> None:
    (header, line, newest) = errors_table([count("C" * 128, message="\x1b[2J" + LONG, request_id="R-1")], 80)
    assert all(len(each) <= 80 for each in (header, line, newest))
    assert newest.startswith("       \\x1b[2Jxxx")
    assert newest.endswith("… (request R-1)")
    assert LONG in list(errors_table([count(message=LONG)]))[2]


@pytest.mark.parametrize("command", ["events", "events --follow", "events --follow --since 1h", "errors"])
def test_without_redis_they_exit_with_4(command: str) -> None:
    result = run(f"{command} --redis {NOWHERE}")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "connection refused" in result.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("events --since yesterday", "'yesterday' is not a duration"),
        ("events --since 0", "must be longer than 0 and at most 365d"),
        ("events --follow --since 400d", "at most 365d"),
        ("errors --since 25h", "at most 1d"),
        ("errors --since -5m", "'-5m' is not a duration"),
    ],
)
def test_ages_that_cannot_be_are_refused(command: str, message: str) -> None:
    result = run(f"{command} --redis {NOWHERE}")
    assert result.exit_code == 2
    assert "since" in result.stderr
    assert message in result.stderr


def test_the_kinds_of_events_that_are_shown_together_have_one_column(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = [
        event(kind, account="live-cn", text="it happened") for kind in (EventKind.HELD, EventKind.ACCOUNTS_CHANGED)
    ]
    monkeypatch.setattr(Client, "events", lambda *_, **__: shown)
    first, second = run("events").stdout.splitlines()
    assert first.index("live-cn") == second.index("live-cn")
