"""``streamstop lanes``: its table and its watching of plain data, without a queue."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop import LaneError, LaneView, QueueUnavailable
from streamstop._core.controls import Limit, Pause
from streamstop.cli import lane_watch
from streamstop.cli._shared.output import json_line
from streamstop.cli._shared.screen import Screen
from streamstop.cli.lane_output import lane_table
from streamstop.cli.lane_watch import watch_lanes
from streamstop.operations import OPERATIONS
from tests.support.offline_cli import NOWHERE, run

AT = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def view(account: str = "live-cn", operation: str = "live.StopMPUTask", **fields: Any) -> LaneView:
    return LaneView(account=account, operation=operation, at=AT, **fields)


RUNNING = view(waiting=12, oldest_waiting_at=AT - timedelta(seconds=3), in_flight=1, pace=9.65, limit=10)
RESTING = view(
    operation="rtc.StopMPUTask",
    waiting=5210,
    oldest_waiting_at=AT - timedelta(minutes=12),
    in_flight=8,
    deferred=3,
    pace=4.825,
    limit=10,
    rest=timedelta(seconds=24),
    last_error=LaneError(code="Throttling.User", at=AT - timedelta(seconds=4)),
)
LONG = view("a" * 63, "live.StopLivePullToPush", waiting=1, served=False)
FULL = view(
    "b" * 63,
    "live.DescribeLivePullToPushList",
    waiting=1_000_000,
    in_flight=1000,
    deferred=100_000,
    oldest_waiting_at=AT - timedelta(days=200),
    pace=0.0965,
    limit=0.1,
    paused=Pause(by="ann@ops", at=AT, scope="all", until=AT + timedelta(days=3), reason="the vendor moves house " * 5),
    last_error=LaneError(code="InternalError", at=AT - timedelta(minutes=1)),
)


def plain(views: list[LaneView], width: int | None) -> list[str]:
    return [click.unstyle(line) for line in lane_table(views, width)]


def test_the_table_says_in_full_what_is_not_as_usual() -> None:
    assert plain([RUNNING, RESTING], 80) == [
        "account operation        waiting oldest flight defer   calls/s left state",
        "live-cn live.StopMPUTask      12     3s      1     0   9.65/10   1s running",
        "live-cn rtc.StopMPUTask     5210    12m      8     3   4.83/10  18m resting",
        "    24 s: Throttling.User",
        "2 lanes: 5222 waiting, 9 in flight, 3 deferred",
    ]


def test_a_wide_terminal_and_a_pipe_have_a_line_for_each_lane() -> None:
    wide = plain([RUNNING, RESTING], 120)
    assert wide[2].endswith("18m resting 24 s: Throttling.User")
    assert plain([RUNNING, RESTING], None) == wide


def test_long_names_are_never_cut_and_accounts_have_lines_of_their_own() -> None:
    assert plain([RUNNING, RESTING, LONG], 80) == [
        "account, operation        waiting oldest flight defer   calls/s left state",
        "live-cn",
        "  live.StopMPUTask             12     3s      1     0   9.65/10   1s running",
        "  rtc.StopMPUTask            5210    12m      8     3   4.83/10  18m resting",
        "    24 s: Throttling.User",
        "a" * 63,
        "  live.StopLivePullToPush       1      -      0     0         -    - no worker",
        "    no running worker has this account",
        "3 lanes: 5223 waiting, 9 in flight, 3 deferred",
    ]
    assert f"{'a' * 63} live.StopLivePullToPush" in plain([LONG], None)[1]


def test_the_order_is_kept_where_accounts_have_lines_of_their_own() -> None:
    lines = plain([LONG, RUNNING, LONG], 80)
    assert [line for line in lines if line in {"live-cn", LONG.account}] == [LONG.account, "live-cn", LONG.account]


def test_an_extreme_lane_fits() -> None:
    lines = plain([FULL, RUNNING], 80)
    assert all(len(line) <= 80 for line in lines), lines
    text = " ".join(line.strip() for line in lines)
    assert "  live.DescribeLivePullToPushList" in lines
    assert "paused by ann@ops until 2026-01-04 12:00 UTC: the vendor moves house" in text
    assert "last error InternalError 60 s ago" in text


@given(
    st.lists(
        st.builds(
            view,
            st.integers(1, 63).map("n".__mul__),
            st.sampled_from(sorted(OPERATIONS)),
            waiting=st.integers(0, 9_999_999),
            in_flight=st.integers(0, 2000),
            deferred=st.integers(0, 99_999),
            pace=st.sampled_from([None, 0.05, 1.0, 9.65, 48.3, 143.2]),
            limit=st.sampled_from([None, 0.5, 1, 10, 50, 150]),
            rest=st.timedeltas(timedelta(0), timedelta(seconds=600)),
            served=st.sampled_from([True, False, None]),
            faults=st.integers(0, 6),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(80, 200),
)
def test_the_table_fits_any_terminal_of_80_columns_or_more(views: list[LaneView], width: int) -> None:
    lines = plain(views, width)
    assert [line for line in lines if len(line) > width] == []
    text = "\n".join(lines)
    assert all(one.account in text and one.operation in text for one in views)


def test_a_limit_that_somebody_set_is_told() -> None:
    limit = Limit(
        by="ann@ops",
        at=AT,
        account="live-cn",
        operation="live.StopMPUTask",
        limit=2,
        until=AT + timedelta(minutes=20),
        reason="as they asked",
    )
    (line,) = plain([RUNNING.model_copy(update={"limit_override": limit})], None)[1:-1]
    assert line.endswith("running; limit 2/s set by ann@ops for 20 min more (as they asked)")


def test_an_old_error_is_not_told_and_what_people_wrote_cannot_move_the_cursor() -> None:
    old = LaneError(code="InternalError", at=AT - timedelta(hours=2))
    assert plain([RUNNING.model_copy(update={"last_error": old})], None)[1].endswith("running")
    paused = view(paused=Pause(by="a\x1b[2Jb", at=AT, scope="all"), waiting=1)
    assert r"paused by a\x1b[2Jb" in plain([paused], None)[1]


def test_no_lane_is_no_table() -> None:
    assert lane_table([], 80) == []


def test_the_json_is_one_line_of_ascii() -> None:
    data = json.loads(json_line(RESTING))
    assert (data["account"], data["state"], data["oldest_waiting"]) == ("live-cn", "resting", 720)
    assert json_line(RESTING).isascii()


class Stopped(Exception):
    """Ends a watching."""


def watch(monkeypatch: pytest.MonkeyPatch, answers: list[Callable[[], list[LaneView]]], **options: Any) -> list[float]:
    """Watch until the answers are over; return how long each pause was."""
    pauses: list[float] = []
    left = iter(answers)

    def read() -> list[LaneView]:
        try:
            return next(left)()
        except StopIteration:
            raise Stopped from None

    monkeypatch.setattr(lane_watch, "sleep", pauses.append)
    with pytest.raises(Stopped):
        watch_lanes(read, "none", **{"as_json": False} | options)
    return pauses


def away() -> list[LaneView]:
    raise QueueUnavailable("Redis did not answer")


def test_without_a_terminal_the_table_comes_every_two_seconds_and_redis_may_be_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch(monkeypatch, [lambda: [RUNNING], away, list, lambda: [RESTING]]) == [2] * 4
    printed = capsys.readouterr()
    assert printed.out.count("1 lane: ") == 2
    assert "none\n" in printed.out
    assert printed.err == "Redis did not answer; trying again\n"
    assert "\x1b" not in printed.out


def test_the_watching_of_json_is_json_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watch(monkeypatch, [lambda: [RUNNING, RESTING], list, lambda: [RUNNING]], as_json=True)
    assert [json.loads(line)["waiting"] for line in capsys.readouterr().out.splitlines()] == [12, 5210, 12]


def test_if_redis_does_not_answer_the_first_look_the_watching_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_watch, "sleep", lambda _: pytest.fail("it waits"))
    with pytest.raises(QueueUnavailable):
        watch_lanes(away, "none", as_json=False)


def test_a_terminal_is_redrawn_cut_to_its_rows_and_keeps_the_table_while_redis_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "10")
    screen = Screen(io.StringIO(), colours=False)
    many = [view(operation=operation, waiting=1) for operation in sorted(OPERATIONS)]
    lines = [click.unstyle(line) for line in lane_watch.picture(screen, many, "none", "")]
    assert len(lines) == 9
    assert lines[-3:] == ["… and more", f"{len(many)} lanes: {len(many)} waiting, 0 in flight, 0 deferred", lines[-1]]
    assert "Ctrl-C" in lines[-1]
    lines = [click.unstyle(line) for line in lane_watch.picture(screen, [RUNNING], "none", "Redis is away")]
    assert "live.StopMPUTask" in lines[1]
    assert lines[-1] == "Redis is away"
    assert click.unstyle(lane_watch.picture(screen, [], "none", "")[0]) == "none"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("lanes Live", 2, "account 'Live' must be"),
        ("lanes --sort size", 2, "'size' is not one of"),
        ("lanes", 4, "the lanes could not be looked at"),
        ("lanes --watch", 4, "the lanes could not be looked at"),
    ],
)
def test_bad_input_and_a_redis_that_is_away(command: str, code: int, said: str) -> None:
    result = run(f"{command} --redis {NOWHERE}")
    assert result.exit_code == code
    assert said in result.output
