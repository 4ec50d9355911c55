"""Rooms: names, callbacks, what makes a stream task the same, and the arithmetic of progress."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamstop._core.commands import Command, ReceivedCommand
from streamstop._core.controls import Pause
from streamstop._core.lane import Lane
from streamstop._core.lane_view import LaneState, LaneView
from streamstop._core.membership import Membership, check_callback, check_room, task_of
from streamstop._core.progress import LaneProgress, Progress, ShutdownStatus, progress_of
from streamstop.errors import InvalidCommand
from streamstop.operations import StopMPUTask, StopPublishCdnStream
from streamstop.outcomes import Result

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LANE = Lane("trtc", "trtc.StopPublishCdnStream")


@pytest.mark.parametrize("room", ["r", " r ", "room-42", "Küche/3:tasks", "直播间", "x" * 256, "ü" * 128])
def test_a_rooms_name_is_any_text(room: str) -> None:
    assert check_room(room) == room


@pytest.mark.parametrize(
    "room", ["", "  ", "\u3000", "a\nb", "a\0", "\x7f", "\ud800", "x" * 257, "ü" * 129, None, 7, b"r"]
)
def test_a_name_that_is_empty_too_long_or_not_a_text_is_refused(room: object) -> None:
    with pytest.raises(InvalidCommand, match="room must") as refused:
        check_room(room)
    assert refused.value.field == "room"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook?a=b",
        "http://localhost:8000/",
        "http://127.0.0.1/x",
        "http://[::1]:80/",
        "https://[::1]/",
    ],
)
def test_a_callback_is_an_https_url_and_on_loopback_also_http(url: str) -> None:
    assert check_callback(url) == {"url": url}


@pytest.mark.parametrize(
    "callback",
    [
        "",
        "example.com",
        "http://example.com/",
        "ftp://example.com/",
        "https://",
        "https://user:password@example.com/",
        {"url": "https://example.com/"},
        {"task": None},
        {"task": "t", "args": [object()]},
        7,
    ],
)
def test_another_callback_is_refused_and_never_repeated(callback: Any) -> None:
    with pytest.raises(InvalidCommand, match="callback must") as refused:
        check_callback(callback)
    assert "password" not in str(refused.value)


def test_a_celery_signature_is_kept_as_json_has_it() -> None:
    assert check_callback({"task": "rooms.closed", "args": ("a",), "options": {"queue": "q"}}) == {
        "task": "rooms.closed",
        "args": ["a"],
        "options": {"queue": "q"},
    }
    assert check_callback(None) is None


def test_a_task_is_the_same_by_account_operation_and_parameters() -> None:
    stop = StopMPUTask(app_id="a", task_id="t")
    command = Command(operation=stop, account="live")
    same = Command(operation=StopMPUTask(task_id="t", app_id="a"), account="live", priority=9)
    assert task_of(command) == task_of(same)
    assert task_of(command) == task_of(ReceivedCommand.from_message(command.to_message(now=NOW)))
    others = [
        Command(operation=stop, account="other"),
        Command(operation=StopMPUTask(app_id="a", task_id="u"), account="live"),
        Command(operation=StopPublishCdnStream(sdk_app_id=1, task_id="t"), account="live"),
    ]
    assert len({task_of(one) for one in [command, *others]}) == 4


def test_a_message_says_which_member_of_which_shutdown_it_is_for() -> None:
    member = Membership(shutdown="s", member="m", verify=True)
    assert Membership.of_message(member.in_message({"v": 1})) == member
    others: list[object] = [None, [], {}, {"shutdown": None}, {"shutdown": "s"}, {"shutdown": {"shutdown": "s"}}]
    for other in others:
        assert Membership.of_message(other) is None


def held(**changed: str) -> dict[str, str]:
    return {
        "room": "r",
        "opened": "1767225600",
        "total": "10",
        "ended": "4",
        "scanned": "1",
        "status": "open",
        "n:stopped": "3",
        "n:gave_up": "1",
    } | changed


def view(*, waiting: int = 0, pace: float | None = 10.0, rest_s: float = 0, **more: Any) -> LaneView:
    return LaneView(
        account=LANE.account,
        operation=LANE.operation,
        at=NOW,
        waiting=waiting,
        rest=timedelta(seconds=rest_s),
        pace=pace,
        **more,
    )


def progress(facts: dict[str, str], **lane: Any) -> Progress:
    return progress_of("s", facts, {LANE: (int(facts["total"]), int(facts["ended"]))}, [view(**lane)])


def test_progress_counts_per_outcome_and_what_is_pending() -> None:
    seen = progress(held())
    assert (seen.total, seen.ended, seen.pending) == (10, 4, 6)
    assert dict(seen.results) == {Result.STOPPED: 3, Result.GAVE_UP: 1}
    assert (seen.status, seen.opened_at, seen.done_at) == (ShutdownStatus.OPEN, NOW, None)


def test_until_the_registry_is_fanned_out_the_total_is_at_least_what_it_held() -> None:
    assert progress(held(scanned="0", expected="2000")).total == 2000
    assert progress(held(scanned="0", expected="5")).total == 10
    assert progress(held(expected="2000")).total == 10


def test_the_moment_of_an_end_that_a_late_starter_took_back_is_not_told() -> None:
    assert progress(held(done="1767225700")).done_at is None
    assert progress(held(done="1767225700", status="done")).done_at == NOW + timedelta(seconds=100)


def test_the_time_left_is_the_backlogs_at_the_lanes_pace_and_its_rest() -> None:
    assert progress(held(), waiting=100).seconds_left == 10
    assert progress(held(), waiting=2).seconds_left == 0.6, "what is not in the lane yet is expected too"
    assert progress(held(), waiting=100, rest_s=5).seconds_left == 15


def test_the_time_left_is_unknown_before_a_lanes_first_job_and_none_after_the_end() -> None:
    assert progress(held(), pace=None).seconds_left is None
    assert progress(held(status="done", done="1767225700")).seconds_left == 0


def test_the_time_left_is_unknown_while_an_unfinished_lane_waits_for_a_person() -> None:
    pause = Pause(by="ann@ops", at=NOW, scope="all")
    seen = progress(held(), waiting=100, paused=pause)
    assert (seen.seconds_left, seen.lanes[0].seconds_left) == (None, None)
    assert (seen.lanes[0].state, seen.lanes[0].state_text) == (LaneState.PAUSED, "paused by ann@ops")
    assert progress(held(ended="10"), waiting=100, paused=pause).seconds_left == 0, "nothing of the room waits there"


def test_a_lane_without_pending_tasks_of_the_shutdown_has_no_time_left() -> None:
    lane = LaneProgress(account="a", operation="o", total=5, ended=5, pace=None, rests=9, backlog=100)
    assert lane.seconds_left == 0
