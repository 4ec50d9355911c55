"""The log line of a shutdown at its end, on a Redis in memory."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from redis import Redis

from streamstop import Command
from streamstop._core.lane_types import MemberResult
from streamstop._redis.lanes import Lanes
from streamstop._redis.rooms import Rooms
from streamstop._redis.schedule import Schedule
from streamstop._tracing import Sending
from streamstop.operations import RtcStopMPUTask
from streamstop_worker.shutdowns.ended import log_ended
from streamstop_worker.shutdowns.fan_out import Shutdowns
from tests.support.manual_clock import ManualClock

COMMANDS = [
    Command(operation=RtcStopMPUTask(app_id="a", task_id=f"t-{number}"), account="live-cn") for number in range(3)
]
LANE = COMMANDS[0].lane


@pytest.fixture
def rooms(redis: Redis) -> Rooms:
    return Rooms(redis, Lanes(redis))


def opened(rooms: Rooms, room: str = "r", traced: Sending | None = None) -> str:
    """Return a shutdown whose jobs are in their lane."""
    now = datetime.now(UTC)
    shutdown = rooms.open(room, COMMANDS, now=now, verify=False, callback=None, traced=traced or Sending())
    for _ in Shutdowns(rooms, Lanes(rooms._redis)).fan_out(shutdown):
        pass
    return shutdown


def end(rooms: Rooms, shutdown: str, results: Sequence[str]) -> None:
    for (member, _command, _job), result in zip(list(rooms.shutdowns.members(shutdown)), results, strict=True):
        ok = result == "stopped"
        rooms.record_member_result(LANE, MemberResult(shutdown, member, result, "{}", ok=ok, attention=not ok))


def logged(rooms: Rooms, clock: ManualClock) -> list[dict[str, Any]]:
    clock.advance(timedelta(seconds=1))
    swept = Schedule(rooms._redis).sweep(longest_lease=timedelta(minutes=1), period=timedelta(seconds=1))
    assert swept is not None
    with structlog.testing.capture_logs() as lines:
        log_ended(rooms.shutdowns, swept.last_us, swept.now_us)
    return [dict(line) for line in lines]


def test_each_shutdown_is_logged_once_at_its_end(rooms: Rooms, clock: ManualClock) -> None:
    assert logged(rooms, clock) == []
    shutdown = opened(rooms)
    assert logged(rooms, clock) == []
    clock.advance(timedelta(seconds=40))
    end(rooms, shutdown, ["stopped", "refused", "stopped"])
    assert logged(rooms, clock) == [
        {
            "event": "the shutdown has ended",
            "log_level": "warning",
            "shutdown": shutdown,
            "room": "r",
            "status": "needs_attention",
            "total": 3,
            "attention": 1,
            "stopped": 2,
            "refused": 1,
            "duration_s": 41,
        }
    ]
    assert logged(rooms, clock) == []


def test_a_shutdown_that_ended_well_is_information_and_names_its_trace(rooms: Rooms, clock: ManualClock) -> None:
    logged(rooms, clock)
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    traced = Sending(sentry={"tracelink": f"00-{trace_id}-b7ad6b7169203331-01"})
    shutdowns = [opened(rooms, "a", traced), opened(rooms, "b")]
    for shutdown in shutdowns:
        clock.advance(timedelta(seconds=1))
        end(rooms, shutdown, ["stopped"] * 3)
    lines = logged(rooms, clock)
    assert [(line["shutdown"], line["log_level"], line.get("trace_id")) for line in lines] == [
        (shutdowns[0], "info", trace_id),
        (shutdowns[1], "info", None),
    ]


def test_the_first_look_logs_no_earlier_end_and_a_clock_that_is_set_back_loses_no_later_one(
    rooms: Rooms, clock: ManualClock
) -> None:
    end(rooms, opened(rooms, "early"), ["stopped"] * 3)
    assert logged(rooms, clock) == []
    clock.advance(timedelta(hours=-1))
    assert logged(rooms, clock) == []
    shutdown = opened(rooms, "late")
    end(rooms, shutdown, ["stopped"] * 3)
    assert [line["shutdown"] for line in logged(rooms, clock)] == [shutdown]
