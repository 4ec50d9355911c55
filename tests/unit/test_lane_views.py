"""Lane views: what is read of lanes in Redis, and the words for it."""

from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from streamstop._core.constants import ACCOUNTS, CONTROLS, RECENT, REFUSED
from streamstop._core.controls import Hold, Limit, Pause
from streamstop._core.lane import Lane
from streamstop._core.lane_types import LastCall
from streamstop._core.lane_view import LaneError, LaneState, LaneView
from streamstop._core.pace import Pace
from streamstop._redis.lane_views import Detail, LaneViews
from streamstop._redis.lanes import Lanes
from tests.support.lane_driver import LaneDriver
from tests.support.manual_clock import ManualClock

AT = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def made(**fields: object) -> LaneView:
    return LaneView.model_validate({"account": "live-cn", "operation": "live.StopMPUTask", "at": AT} | fields)


ERROR = LaneError(code="Throttling.User", at=AT - SECOND)
PAUSE = Pause(by="ann@ops", at=AT, scope="all")
HOLD = Hold(account="live-cn", at=AT, operation="live.StopMPUTask", code="InvalidAccessKeyId.NotFound")


@pytest.mark.parametrize(
    ("fields", "state", "text"),
    [
        ({}, LaneState.IDLE, "idle"),
        ({"deferred": 1, "next_deferred": 3 * SECOND}, LaneState.IDLE, "idle: a deferred job is due in 3 s"),
        ({"waiting": 1}, LaneState.RUNNING, "running"),
        ({"in_flight": 1}, LaneState.RUNNING, "running"),
        (
            {"waiting": 1, "rest": 24 * SECOND, "last_error": ERROR},
            LaneState.RESTING,
            "resting 24 s: Throttling.User",
        ),
        ({"rest": 300 * SECOND}, LaneState.RESTING, "resting 5 min"),
        (
            {"faults": 5, "rest": 8 * SECOND, "last_error": LaneError(code="ConnectTimeout", at=AT)},
            LaneState.FAILING,
            "failing: probe in 8 s, ConnectTimeout",
        ),
        ({"faults": 6, "in_flight": 1}, LaneState.FAILING, "failing: probe under way"),
        ({"faults": 6}, LaneState.FAILING, "failing: probe due"),
        ({"faults": 4, "waiting": 1}, LaneState.RUNNING, "running"),
        (
            {"waiting": 1, "served": False, "rest": SECOND},
            LaneState.NO_WORKER,
            "no worker: no running worker has this account",
        ),
        ({"served": False}, LaneState.IDLE, "idle"),
        (
            {"held": HOLD.model_copy(update={"next_probe": AT + 40 * SECOND}), "faults": 5},
            LaneState.HELD,
            "held: InvalidAccessKeyId.NotFound, probe in 40 s",
        ),
        ({"held": HOLD.model_copy(update={"code": None})}, LaneState.HELD, "held: the key is refused"),
        ({"paused": PAUSE, "held": HOLD}, LaneState.PAUSED, "paused by ann@ops"),
        (
            {"paused": PAUSE.model_copy(update={"until": AT + 125 * MINUTE, "reason": "vendor's maintenance"})},
            LaneState.PAUSED,
            "paused by ann@ops until 14:05 UTC: vendor's maintenance",
        ),
        (
            {"paused": PAUSE.model_copy(update={"until": AT + timedelta(days=2)})},
            LaneState.PAUSED,
            "paused by ann@ops until 2026-01-03 12:00 UTC",
        ),
    ],
)
def test_the_state_and_its_words(fields: dict[str, object], state: LaneState, text: str) -> None:
    assert (made(**fields).state, made(**fields).state_text) == (state, text)


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({}, 0),
        ({"waiting": 90, "in_flight": 9, "deferred": 1, "pace": 10.0}, 10),
        ({"waiting": 100, "pace": 10.0, "rest": 5 * SECOND}, 15),
        ({"waiting": 100}, None),
        ({"waiting": 100, "pace": 10.0, "paused": PAUSE}, None),
        ({"waiting": 100, "pace": 10.0, "faults": 5}, None),
    ],
)
def test_the_time_left(fields: dict[str, object], left: float | None) -> None:
    assert made(**fields).seconds_left == left


def test_the_json_has_what_is_derived_and_seconds() -> None:
    view = made(waiting=2, oldest_waiting_at=AT - MINUTE, rest=1.5 * SECOND, pace=2.0, last_error=ERROR)
    data = view.model_dump(mode="json")
    assert (data["state"], data["state_text"]) == ("resting", "resting 2 s: Throttling.User")
    assert (data["rest"], data["oldest_waiting"], data["seconds_left"]) == (1.5, 60.0, 2.5)
    assert LaneView.model_validate(data) == view


@pytest.mark.parametrize("limit", [0.1, 0.5, 1, 2.5, 10, 50, 99.5, 500, 1234])
def test_the_limit_is_the_one_that_made_the_pace(limit: float) -> None:
    assert Pace.limit_of(Pace.of_limit(limit).interval_us) == limit


def test_a_view_counts_what_waits_is_in_flight_and_is_deferred(lane: LaneDriver) -> None:
    empty = lane.lanes.view(lane.lane)
    assert (empty.backlog, empty.pace, empty.limit, empty.last_call_at) == (0, None, None, None)
    lane.publish("a", "b", "c", "d")
    lane.publish("low", priority=9)
    for name in ("a", "b"):
        assert lane.take_next() == name
    lane.retry("a", delay=3 * SECOND)
    view = lane.lanes.view(lane.lane)
    assert (view.waiting, view.in_flight, view.deferred, view.backlog) == (3, 1, 1, 5)
    assert view.pace == pytest.approx(9.65, rel=1e-3)
    assert (view.limit, view.faults) == (10, 1)
    assert view.next_deferred is not None
    assert 2 * SECOND < view.next_deferred <= 3 * SECOND
    assert view.last_call_at is not None
    assert abs(view.at - view.last_call_at) < 2 * SECOND


def test_the_oldest_waiting_job_is_found_in_every_list_and_behind_a_history(lane: LaneDriver) -> None:
    def message(seconds: float) -> str:
        return f'{{"headers":{{"id":"i"}},"body":"[[{{\\"enqueued_at\\":{seconds}}}],{{}},{{}}]"}}'

    assert lane.lanes.view(lane.lane).oldest_waiting is None
    now = lane.clock.seconds()
    first, *others = lane.lane.waiting
    lane.redis.lpush(first, message(now - 5), message(now - 3))
    assert lane.lanes.view(lane.lane).oldest_waiting == 5 * SECOND
    lane.redis.lpush(others[-1], message(now - 70))
    assert lane.lanes.view(lane.lane).oldest_waiting == 70 * SECOND
    lane.redis.rpush(first, f"\x011 2 0 0 0 0\n{message(now - 90)}")
    assert lane.lanes.view(lane.lane).oldest_waiting == 90 * SECOND


@pytest.mark.parametrize(
    "entry", [b"", b"no message", b"[]", b"\x01", b'{"headers":{"id":1},"body":"[]"}', b"\xff", b'{"body": 1}']
)
def test_a_message_that_cannot_be_read_has_no_age(lane: LaneDriver, entry: bytes) -> None:
    lane.redis.lpush(lane.lane.queue, entry)
    view = lane.lanes.view(lane.lane)
    assert (view.waiting, view.oldest_waiting_at) == (1, None)


def test_a_lane_that_rests_and_one_that_fails_are_seen_as_such(redis: Redis, clock: ManualClock) -> None:
    lane = LaneDriver(redis, clock, limit=10)
    lane.publish(*range(20))
    lane.throttle(lane.take_next(), hint=7 * SECOND)
    resting = lane.lanes.view(lane.lane)
    assert (resting.state, resting.rest) == (LaneState.NO_WORKER, 7 * SECOND), "nobody published the account"
    redis.zadd(ACCOUNTS, {f"{lane.lane.account} aliyun": clock.seconds()})
    assert lane.lanes.view(lane.lane).state is LaneState.RESTING
    clock.advance(61 * SECOND)
    assert lane.lanes.view(lane.lane).state is LaneState.NO_WORKER, "its worker has not published it for a minute"
    redis.zadd(ACCOUNTS, {f"{lane.lane.account} aliyun": clock.seconds()})
    assert lane.lanes.view(lane.lane).state is LaneState.RUNNING
    for _ in range(5):
        lane.finish(lane.take_next(), call=LastCall.FAULT)
    failing = lane.lanes.view(lane.lane)
    assert (failing.state, failing.failing, failing.faults) == (LaneState.FAILING, True, 5)
    assert failing.state_text == "failing: probe in 1 s"


def test_the_last_error_is_that_of_the_lanes_pace(lane: LaneDriver) -> None:
    lane.redis.hset(
        lane.lane.pace, mapping={"error_code": "Throttling.User", "error_at": lane.clock.now_us - 4_000_000}
    )
    error = lane.lanes.view(lane.lane).last_error
    assert error is not None
    assert (error.code, error.at.timestamp()) == ("Throttling.User", lane.clock.seconds() - 4)


def test_what_holds_a_lane_back_is_read_for_all_lanes_at_once(redis: Redis, clock: ManualClock) -> None:
    mine, others = Lane("live-cn", "live.StopMPUTask"), Lane("trtc-sg", "trtc.StopStreamIngest")
    limit = Limit(by="ann@ops", at=AT, account=mine.account, operation=mine.operation, limit=2)
    pause = PAUSE.model_copy(update={"scope": "vendor:tencent"})
    redis.hset(
        CONTROLS,
        mapping={
            "version": 1,
            limit.field: limit.text,
            pause.field: pause.text,
            "hold live-cn": HOLD.model_dump_json(),
        },
    )
    first, second = Lanes(redis).views([mine, others])
    assert (first.held, first.limit_override, first.paused) == (HOLD, limit, None)
    assert (second.held, second.limit_override, second.paused) == (None, None, pause)
    redis.hset(REFUSED, "live-cn:probe", clock.now_us + 40_000_000)
    (held,) = Lanes(redis).views([mine])
    assert held.state_text == "held: InvalidAccessKeyId.NotFound, probe in 40 s"


def test_a_key_of_another_type_hides_only_what_it_holds(lane: LaneDriver) -> None:
    other = Lane("live-cn", "rtc.StopMPUTask")
    lane.publish("a")
    lane.redis.set(other.queue, "of another program")
    lane.redis.set(other.pace, "of another program")
    assert [view.waiting for view in lane.lanes.views([other, lane.lane])] == [0, 1]


def test_what_a_user_may_not_read_is_left_out_and_not_asked_for_again(
    lane: LaneDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane.publish("a", "b")
    lane.take_next()
    asked: list[Detail] = []
    views = LaneViews(lane.redis)
    read = views._read

    def refuse(lanes: list[Lane], detail: Detail) -> list[LaneView]:
        asked.append(detail)
        if detail > Detail.PACE:
            raise NoPermissionError("this user has no permissions to run the 'hgetall' command")
        return read(lanes, detail)

    monkeypatch.setattr(views, "_read", refuse)
    for _ in range(2):
        (view,) = views.read([lane.lane])
        assert (view.waiting, view.in_flight, view.served, view.oldest_waiting_at) == (1, 1, None, None)
    assert asked == [Detail.ALL, Detail.STATE, Detail.PACE, Detail.PACE]


def test_lanes_that_were_at_work_lately_are_remembered_for_a_day(lane: LaneDriver) -> None:
    assert lane.lanes.recent(15 * MINUTE) == set()
    lane.publish("a")
    lane.finish(lane.take_next())
    assert lane.lanes.view(lane.lane).backlog == 0
    assert lane.lanes.recent(15 * MINUTE) == {lane.lane}
    assert 0 < int(lane.redis.ttl(RECENT)) <= 86400
    lane.clock.advance(80 * MINUTE)
    assert lane.lanes.recent(15 * MINUTE) == set()
    lane.publish("b")
    lane.finish(lane.take_next())
    assert lane.lanes.recent(15 * MINUTE) == {lane.lane}


def test_reading_costs_the_same_whatever_lanes_hold(lane: LaneDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    def commands() -> int:
        sent: list[int] = []
        execute = type(lane.redis.pipeline()).execute

        def count(self: object, *arguments: object, **options: object) -> object:
            sent.append(len(self.command_stack))  # type: ignore[attr-defined]
            return execute(self, *arguments, **options)  # type: ignore[arg-type]

        with monkeypatch.context() as patched:
            patched.setattr(type(lane.redis.pipeline()), "execute", count)
            lane.lanes.views([lane.lane] * 3)
        assert len(sent) == 2, "two round trips"
        return sum(sent)

    empty = commands()
    lane.publish(*range(500))
    assert commands() == empty == 2 + 1 + 3 * 12


def test_a_view_counts_calls_and_throttled_calls(lane: LaneDriver) -> None:
    lane.publish("a", "b", "c", "d")
    assert lane.take_next() == "a"
    lane.finish("a")
    assert lane.take_next() == "b"
    lane.release("b")
    view = lane.lanes.view(lane.lane)
    assert (view.calls, view.throttled) == (1, 0), "no call was made of the job that was returned"
    lane.throttle(lane.take_next())
    lane.finish(lane.take_next(), call=LastCall.FAULT)
    view = lane.lanes.view(lane.lane)
    assert (view.calls, view.throttled) == (3, 1)
