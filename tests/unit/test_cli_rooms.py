"""``streamstop room``: its views of plain data, without a queue."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop import Command, LaneProgress, LaneState, Outcome, Progress, Result, RoomView, ShutdownStatus
from streamstop.cli._shared.exit_codes import Exit, Failure
from streamstop.cli._shared.screen import Screen
from streamstop.cli.room_output import (
    outcome_lines,
    progress_json,
    progress_line,
    progress_view,
    room_json,
    room_page,
)
from streamstop.cli.room_watch import LogDisplay, TerminalDisplay, raise_unless_done, watch_hint
from streamstop.operations import OPERATIONS, StopMPUTask

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def lane(account: str, operation: str, total: int, ended: int, **told: Any) -> LaneProgress:
    facts: dict[str, Any] = {"pace": 9.7, "rests": 0.0, "backlog": total - ended} | told
    return LaneProgress(account=account, operation=operation, total=total, ended=ended, **facts)


def progress(
    *lanes: LaneProgress,
    status: ShutdownStatus = ShutdownStatus.OPEN,
    results: dict[Result, int] | None = None,
    room: str = "room-42",
) -> Progress:
    ended = sum(one.ended for one in lanes)
    return Progress(
        shutdown="5f",
        room=room,
        status=status,
        total=sum(one.total for one in lanes),
        results=results if results is not None else {Result.STOPPED: ended} if ended else {},
        lanes=lanes,
        opened_at=AT,
        done_at=None if status is ShutdownStatus.OPEN else AT + timedelta(seconds=12),
    )


def plain(lines: list[str]) -> list[str]:
    return [click.unstyle(one).rstrip() for one in lines]


RESTS = {"state": LaneState.RESTING, "state_text": "resting 3 s: LimitExceeded"}
HALF = progress(
    lane("live-cn", "live.StopMPUTask", 500, 123),
    lane("live-cn", "rtc.StopMPUTask", 20, 20),
    lane("trtc-sg", "trtc.StopStreamIngest", 80, 40, pace=4.85, rests=2.4, **RESTS),
    lane("trtc-sg", "trtc.StopPublishCdnStream", 7, 0, pace=None),
    results={Result.STOPPED: 180, Result.ALREADY_STOPPED: 1, Result.NOT_FOUND: 2},
)


def test_the_view_has_a_bar_a_lane_and_one_for_the_whole() -> None:
    assert plain(progress_view(HALF)) == [
        "room room-42: closing",
        "account       operation                 tasks ended             pace",
        "live-cn       live.StopMPUTask          ██▏░░░░░░     123/500 9.70/s running",
        "live-cn       rtc.StopMPUTask           █████████       20/20 9.70/s done",
        "trtc-sg       trtc.StopPublishCdnStream ░░░░░░░░░         0/7      - waiting",
        "trtc-sg       trtc.StopStreamIngest     ████▌░░░░       40/80 resting 3 s",
        "the whole room                          ██▋░░░░░░     183/607",
        "180 stopped, 1 already_stopped, 2 not_found",
        "trtc-sg trtc.StopStreamIngest resting 3 s: LimitExceeded",
        "about 39 s left",
    ]


def test_the_plain_line_tells_the_same() -> None:
    assert progress_line(HALF) == (
        "room-42: closing, 183 of 607 tasks ended, 180 stopped, 1 already_stopped, 2 not_found, "
        "trtc-sg trtc.StopStreamIngest resting 3 s: LimitExceeded, about 39 s left"
    )


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (ShutdownStatus.DONE, "done"),
        (ShutdownStatus.NEEDS_ATTENTION, "ended, needs attention"),
        (ShutdownStatus.CANCELLED, "cancelled"),
    ],
)
def test_an_ended_shutdown_says_how_it_ended_and_how_long_it_took(status: ShutdownStatus, word: str) -> None:
    ended = progress(lane("a", "live.StopMPUTask", 1, 1), status=status)
    assert plain(progress_view(ended))[0] == f"room room-42: {word}"
    assert progress_view(ended)[-1] == "took 12 s"
    assert progress_line(ended) == f"room-42: {word}, 1 of 1 task ended, 1 stopped, took 12 s"


def test_a_room_with_nothing_in_it_is_all_done() -> None:
    lines = plain(progress_view(progress(status=ShutdownStatus.DONE)))
    assert lines[2].split() == ["the", "whole", "room", "█████████", "0/0"]
    assert lines[3] == "no task was registered"


def test_before_the_first_job_the_time_left_is_not_guessed() -> None:
    assert (
        progress_view(progress(lane("a", "live.StopMPUTask", 7, 0, pace=None)))[-1] == "the time left is not known yet"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (86400, "24 h"), (172_800, "2 d")],
)
def test_the_time_left_is_told_in_the_unit_that_suits_it(seconds: int, text: str) -> None:
    assert progress_view(progress(lane("a", "live.StopMPUTask", seconds, 0, pace=1.0)))[-1] == f"about {text} left"


lanes = st.builds(
    lambda account, operation, total, part, pace, rests: lane(
        account, operation, total, int(total * part), pace=pace, rests=rests
    ),
    st.text("abcdefgh-", min_size=1, max_size=63),
    st.sampled_from(sorted(OPERATIONS)),
    st.integers(0, 3_000_000),
    st.floats(0, 1),
    st.none() | st.floats(0.01, 5000),
    st.just(0.0) | st.floats(0, 60),
)


@given(st.lists(lanes, max_size=6), st.text(min_size=1, max_size=200))
def test_the_view_fits_80_columns_and_its_columns_stand_still(made: list[LaneProgress], room: str) -> None:
    lines = plain(progress_view(progress(*made, room=room)))
    assert all(len(one) <= 80 for one in lines)
    bars = {one.index(mark) for one in lines[2:] for mark in "█░" if mark in one and one.index(mark) == 40}
    assert bars <= {40}


def test_with_many_lanes_only_those_under_way_are_shown() -> None:
    done = [lane("a", name, 1, 1) for name in ("live.StopA", "live.StopB", "live.StopC")]
    lines = plain(progress_view(progress(*done, lane("z", "live.StopZ", 2, 1)), max_lanes=2))
    assert [one.split()[1] for one in lines[2:4]] == ["live.StopA", "live.StopZ"]
    assert lines[4] == "… and 2 more lanes"


def test_a_rooms_name_does_not_reach_the_terminal_unescaped() -> None:
    evil = "a\u202eb"
    assert "\u202e" not in "".join([*progress_view(progress(room=evil)), progress_line(progress(room=evil))])


def test_json_has_everything_that_the_handle_has() -> None:
    printed = json.loads(progress_json(HALF))
    assert (printed["status"], printed["total"], printed["ended"], printed["pending"]) == ("open", 607, 183, 424)
    assert printed["results"] == {"stopped": 180, "already_stopped": 1, "not_found": 2}
    assert printed["seconds_left"] == HALF.seconds_left
    assert Progress.model_validate(printed).model_dump() == HALF.model_dump() | {"lanes": printed["lanes"]}


def test_the_page_of_a_room_says_what_is_registered_and_whether_it_was_stopped() -> None:
    task = Command(operation=StopMPUTask(app_id="a", task_id="t"), account="live-cn")
    never = RoomView("room-42", (task,), None)
    assert room_page(never, None, AT) == [
        "room        room-42",
        "registered  1 task",
        "shutdown    none: the room was never stopped",
    ]
    assert json.loads(room_json(never, None)) == {"room": "room-42", "registered": 1, "shutdown": None}
    gone = RoomView("room-42", (), "5f")
    assert room_page(gone, None, AT)[2] == "shutdown    5f, over seven days ago"
    page = plain(room_page(gone, HALF, AT + timedelta(hours=3)))
    assert page[2:6] == ["shutdown    5f", "opened at   2026-01-02T03:04:05Z (3 h ago)", "", "room room-42: closing"]
    assert json.loads(room_json(gone, HALF))["shutdown"]["pending"] == 424


def test_outcomes_that_need_a_person_are_listed_last() -> None:
    def outcome(job: str, result: Result, **told: Any) -> Outcome:
        return Outcome(result=result, job_id=job, operation="live.StopMPUTask", account="a", **told)

    assert list(
        outcome_lines(
            [
                outcome("a.1", Result.REFUSED, code="Forbidden", message="no\x1b[2J"),
                outcome("a.2", Result.STOPPED, params={"AppId": "app", "TaskId": "t"}),
            ]
        )
    ) == [
        "stopped  a live.StopMPUTask AppId=app TaskId=t",
        "refused  a.1                                    Forbidden: no\\x1b[2J",
    ]


def test_a_terminal_is_redrawn_and_surplus_lines_are_cleared() -> None:
    out = io.StringIO()
    display = TerminalDisplay(Screen(out, colours=False))
    display.show(HALF)
    first = out.getvalue()
    assert first.count("\n") == len(progress_view(HALF))
    display.show(progress(lane("a", "live.StopMPUTask", 1, 1), status=ShutdownStatus.DONE))
    second = out.getvalue().removeprefix(first)
    assert second.startswith(f"\x1b[{len(progress_view(HALF))}A\r")
    assert second.endswith("took 12 s\x1b[K\n\x1b[J")
    assert "\x1b[1m" not in out.getvalue()
    assert "Ctrl-C stops the watching, not the shutdown" in first
    assert "Ctrl-C" not in second


def test_plain_lines_come_every_two_seconds_and_at_the_end() -> None:
    out, now = io.StringIO(), [0.0]
    display = LogDisplay(out, lambda: now[0])
    for moment in (0.0, 0.1, 1.9, 2.0, 2.1):
        now[0] = moment
        display.show(progress(lane("a", "live.StopMPUTask", 100, int(moment * 10))))
    display.show(progress(lane("a", "live.StopMPUTask", 100, 100), status=ShutdownStatus.DONE))
    assert [one.split(", ")[1] for one in out.getvalue().splitlines()] == [
        "0 of 100 tasks ended",
        "20 of 100 tasks ended",
        "100 of 100 tasks ended",
    ]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (ShutdownStatus.NEEDS_ATTENTION, Exit.ENDED_OTHERWISE),
        (ShutdownStatus.CANCELLED, Exit.ENDED_OTHERWISE),
        (ShutdownStatus.OPEN, Exit.STILL_OPEN),
    ],
)
def test_each_status_other_than_done_has_its_exit_code(status: ShutdownStatus, code: Exit) -> None:
    with pytest.raises(Failure) as failed:
        raise_unless_done(progress(status=status))
    assert failed.value.exit_code is code
    raise_unless_done(progress(status=ShutdownStatus.DONE))


def test_the_way_back_is_one_that_a_shell_understands() -> None:
    assert watch_hint("room-42") == "watch it with `streamstop room show room-42 --watch`"
    assert "streamstop room show 'the lobby' --watch" in watch_hint("the lobby")
