"""Signs of life: what a worker writes, when it counts as lost or stuck, and lanes with different limits."""

from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from streamstop import WorkerState
from streamstop._core.constants import WORKERS
from streamstop._core.workers import LimitDifference, judge
from streamstop._redis.workers import Workers
from tests.support.manual_clock import ManualClock
from tests.support.signs_of_life import STOP, events_of_workers, sign_of_life, write_book

SECOND = timedelta(seconds=1)


@pytest.fixture
def workers(redis: Redis) -> Workers:
    return Workers(redis)


def test_a_worker_is_seen_with_what_it_wrote(redis: Redis, workers: Workers, clock: ManualClock) -> None:
    book = write_book(redis, "live-cn", "live-sg")
    clock_s = clock.seconds() + 60
    workers.beat("run", sign_of_life("w1@h", book=book, up=90.0, clock=clock_s), text="version 1")
    clock.advance(3 * SECOND)
    (view,) = workers.views()
    assert (view.name, view.host, view.version, view.state) == ("w1@h", "h", "1.2.3", WorkerState.RUNNING)
    assert (view.accounts, view.busy, view.slots, view.silent) == (("live-cn", "live-sg"), 3, 256, 3)
    assert (view.seen - view.since).total_seconds() == 90
    assert view.clock_ahead == pytest.approx(60)
    assert 0 < redis.ttl(WORKERS) <= 86_400


@pytest.mark.parametrize(
    ("fields", "silent_s", "state", "problem"),
    [
        ({}, 0, WorkerState.RUNNING, None),
        ({}, 29.9, WorkerState.RUNNING, None),
        ({}, 30, WorkerState.LOST, "no sign of life for 30 s"),
        ({"stopping": True}, 400, WorkerState.LOST, "no sign of life for 7 min"),
        ({"stopping": True, "looked": 99.0}, 0, WorkerState.STOPPING, None),
        ({"answered": {"the event loop": 31.0}}, 0, WorkerState.STUCK, "the event loop has not answered for 31 s"),
        ({"answered": {"x": 31.0}, "stopping": True}, 0, WorkerState.STUCK, "x has not answered for 31 s"),
        ({"looked": 31.0}, 0, WorkerState.STUCK, "it has not looked for jobs for 31 s"),
        ({"looked": 31.0, "busy": 256}, 0, WorkerState.RUNNING, None),
        ({"looked": None, "up": 5.0}, 0, WorkerState.STARTING, None),
        ({"looked": None, "up": 45.0}, 0, WorkerState.STUCK, "it has not looked for jobs since its start 45 s ago"),
    ],
)
def test_the_state_of_a_worker(
    fields: dict[str, Any], silent_s: float, state: WorkerState, problem: str | None
) -> None:
    assert judge(sign_of_life(**fields), timedelta(seconds=silent_s)) == (state, problem)


def test_a_silent_worker_is_lost_once_and_forgotten_after_an_hour(
    redis: Redis, workers: Workers, clock: ManualClock
) -> None:
    workers.beat("1", sign_of_life("w1@h"), text="starts")
    for _ in range(7):
        clock.advance(5 * SECOND)
        workers.beat("2", sign_of_life("w2@h"), text="starts too")
    lost = ("worker_lost", "w1@h", "no sign of life for half a minute")
    assert events_of_workers(redis) == [
        ("worker_started", "w1@h", "starts"),
        ("worker_started", "w2@h", "starts too"),
        lost,
    ]
    assert [view.state for view in workers.views()] == [WorkerState.LOST, WorkerState.RUNNING]
    clock.advance(timedelta(hours=1))
    workers.beat("2", sign_of_life("w2@h"), text="")
    assert [view.name for view in workers.views()] == ["w2@h"]
    assert events_of_workers(redis).count(lost) == 1


def test_a_worker_that_was_lost_shows_signs_of_life_again(redis: Redis, workers: Workers, clock: ManualClock) -> None:
    workers.beat("1", sign_of_life("w1@h"), text="starts")
    clock.advance(31 * SECOND)
    workers.beat("2", sign_of_life("w2@h"), text="starts")
    workers.beat("1", sign_of_life("w1@h"), text="starts")
    assert events_of_workers(redis)[-1] == ("worker_started", "w1@h", "shows signs of life again")
    assert [view.state for view in workers.views()] == [WorkerState.RUNNING] * 2


def test_a_worker_that_was_killed_and_started_again_leaves_no_lost_one(
    redis: Redis, workers: Workers, clock: ManualClock
) -> None:
    workers.beat("1", sign_of_life("w1@h", pid=1), text="starts")
    clock.advance(31 * SECOND)
    workers.beat("2", sign_of_life("w1@h", pid=2), text="starts")
    assert [(view.name, view.pid) for view in workers.views()] == [("w1@h", 2)]
    assert [kind for kind, _, _ in events_of_workers(redis)] == ["worker_started", "worker_lost", "worker_started"]


def test_two_workers_of_one_name_are_both_seen(redis: Redis, workers: Workers, clock: ManualClock) -> None:
    for _ in range(10):
        workers.beat("1", sign_of_life("w1@h", pid=1), text="starts")
        workers.beat("2", sign_of_life("w1@h", pid=2), text="starts")
        clock.advance(5 * SECOND)
    assert sorted(view.pid for view in workers.views()) == [1, 2]
    assert len(events_of_workers(redis)) == 2


def test_a_worker_that_stops_is_gone_at_once(redis: Redis, workers: Workers) -> None:
    workers.beat("1", sign_of_life("w1@h"), text="starts")
    workers.leave("1", "w1@h")
    workers.leave("1", "w1@h")
    assert workers.views() == []
    assert events_of_workers(redis) == [("worker_started", "w1@h", "starts"), ("worker_stopped", "w1@h", "")]


def test_a_clock_that_was_set_back_hides_no_lost_worker(workers: Workers, clock: ManualClock) -> None:
    workers.beat("1", sign_of_life("w1@h"), text="")
    clock.advance(timedelta(hours=-2))
    workers.beat("2", sign_of_life("w2@h"), text="")
    clock.advance(31 * SECOND)
    workers.beat("2", sign_of_life("w2@h"), text="")
    assert [view.state for view in workers.views()] == [WorkerState.LOST, WorkerState.RUNNING]


@pytest.mark.parametrize("written", [b"", b"{}", b"null", b'{"seen_us":1,"lost":0,"name":3}', b"\xff", b'{"seen_us":1'])
def test_what_another_program_wrote_is_left_out(written: bytes, redis: Redis, workers: Workers) -> None:
    redis.hset(WORKERS, "other", written)
    assert workers.views() == []
    workers.beat("1", sign_of_life("w1@h"), text="")
    assert [view.name for view in workers.views()] == ["w1@h"]
    assert redis.hlen(WORKERS) == 1, "it is removed"


def test_a_beat_is_one_command(redis: Redis, workers: Workers) -> None:
    workers.beat("1", sign_of_life("w1@h"), text="")
    sent: list[str] = []
    execute = redis.execute_command
    redis.execute_command = lambda *words, **options: sent.append(words[0]) or execute(*words, **options)  # type: ignore[method-assign, func-returns-value, no-untyped-call]
    workers.beat("1", sign_of_life("w1@h"), text="")
    assert sent == ["EVALSHA"]


def test_limits_that_differ_are_named_with_the_workers(redis: Redis, workers: Workers, clock: ManualClock) -> None:
    first = write_book(redis, "live-cn", "live-sg", live_cn=8)
    second = write_book(redis, "live-cn", "live-eu", live_cn=4)
    assert workers.beat("1", sign_of_life("w1@h", book=first), text="") == []
    assert workers.beat("2", sign_of_life("w2@h", book=second), text="") == [first]
    assert workers.beat("3", sign_of_life("w3@h", book=second), text="") == [first]
    difference = LimitDifference(account="live-cn", operation=STOP, limits={"w1@h": 8, "w2@h": 4, "w3@h": 4})
    assert [view.differences for view in workers.views()] == [(difference,)] * 3
    clock.advance(31 * SECOND)
    workers.beat("2", sign_of_life("w2@h", book=second), text="")
    workers.beat("3", sign_of_life("w3@h", book=second), text="")
    assert [view.differences for view in workers.views()] == [()] * 3, "a lost worker disagrees with nobody"


@pytest.mark.parametrize(
    ("one", "other", "lanes"),
    [
        ({"limit": 10}, {"limit": 12}, ["live-cn"]),
        ({"live_cn": 5}, {}, ["live-cn"]),
        ({"live_cn": 10}, {}, []),
        ({"live_cn": 5, "live_us": 3}, {"live_cn": 5, "live_us": 4}, []),
    ],
)
def test_lanes_that_both_workers_have_are_compared(
    one: dict[str, float], other: dict[str, float], lanes: list[str], redis: Redis, workers: Workers
) -> None:
    workers.beat("1", sign_of_life("w1@h", book=write_book(redis, "live-cn", "live-us", **one)), text="")
    workers.beat("2", sign_of_life("w2@h", book=write_book(redis, "live-cn", "live-eu", **other)), text="")
    (view, _) = workers.views()
    assert [difference.account for difference in view.differences] == lanes
