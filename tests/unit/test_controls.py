"""Controls as values: what pauses a lane, and what the hash in Redis holds."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from streamstop._core.controls import Controls, Hold, Limit, Pause, check_scope
from streamstop._core.lane import Lane
from streamstop.errors import InvalidCommand

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LANE = Lane("live-cn", "live.StopMPUTask")


def pause(scope: str, lasting: timedelta | None = None) -> Pause:
    return Pause(scope=scope, by="ann@ops", at=NOW, until=None if lasting is None else NOW + lasting)


def controls(*pauses: Pause) -> Controls:
    return Controls({one.scope: one for one in pauses}, {}, {})


@pytest.mark.parametrize("scope", ["all", "vendor:aliyun", "live-cn", "live-cn.live.StopMPUTask"])
def test_every_scope_that_holds_a_lane_pauses_it(scope: str) -> None:
    assert controls(pause(scope)).pause_of(LANE) == pause(scope)


@pytest.mark.parametrize("scope", ["vendor:tencent", "live", "live-cn.live.GetMPUTaskStatus"])
def test_another_scope_does_not_pause_a_lane(scope: str) -> None:
    assert controls(pause(scope)).pause_of(LANE) is None


def test_of_several_pauses_the_one_that_ends_last_counts() -> None:
    short, long, endless = (
        pause("all", timedelta(minutes=1)),
        pause("live-cn", timedelta(minutes=2)),
        pause("vendor:aliyun"),
    )
    assert controls(short, long).pause_of(LANE) == long
    assert controls(short, endless, long).pause_of(LANE) == endless


def test_steps_of_shutdowns_are_never_paused() -> None:
    assert controls(pause("all")).pause_of(Lane("_control", "room.Steps")) is None


def test_the_hash_is_read_as_it_is_written() -> None:
    limit = Limit(account="live-cn", operation="live.StopMPUTask", limit=2.5, by="ann@ops", at=NOW, reason="slow down")
    hold = Hold(account="live-cn", at=NOW, operation="live.StopMPUTask", code="InvalidAccessKeyId.NotFound")
    kept, ended = pause("all", timedelta(minutes=1)), pause("live-cn", timedelta(0))
    fields = {one.field: one.text for one in (kept, ended, limit)}
    fields |= {"version": "1", "hold live-cn": hold.model_dump_json(), "pause newer": '{"shape": 2}'}
    read = Controls.parse(fields, NOW)
    assert read == Controls({"all": kept}, {LANE: limit}, {"live-cn": hold})
    assert read.limit_of(LANE) == limit
    assert read.hold_of(LANE) == hold


def test_scripts_find_moments_and_paces_beside_the_value() -> None:
    written = json.loads(pause("all", timedelta(seconds=1.5)).text)
    assert written["until_us"] == NOW.timestamp() * 1_000_000 + 1_500_000
    assert "until_us" not in json.loads(pause("all").text)
    limit = json.loads(Limit(account="a", operation="live.StopMPUTask", limit=2, by="x", at=NOW).text)
    assert (limit["interval"], limit["places"]) == (518_135, 2)


@pytest.mark.parametrize(
    "scope",
    ["", "ALL", "vendor:aws", "vendor:", "live-cn.", "live-cn.live", "live-cn.live.NoSuchAction", "_control", 7],
)
def test_a_scope_that_does_not_exist_is_refused_with_those_that_do(scope: object) -> None:
    with pytest.raises(InvalidCommand) as caught:
        check_scope(scope)
    assert caught.value.field == "scope"
