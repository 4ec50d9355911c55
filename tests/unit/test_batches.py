"""Batches of messages: every order of staging, spreading and killed processes leaves the lanes whole."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fakeredis import FakeRedis, FakeServer
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from streamstop._core.constants import ARRIVALS, BATCH, BATCHES, STAGED, WAKE
from streamstop._core.lane import Lane
from streamstop._core.lane_types import Queued
from streamstop._redis import batches
from streamstop._redis.batches import Batches
from streamstop._redis.errors import StagingLost
from streamstop._redis.staging import entry_of
from tests.support.manual_clock import ManualClock, fake_redis

LANES = [Lane("a", "live.StopMPUTask"), Lane("b", "trtc.StopPublishCdnStream")]
CONTROL = Lane("_control", "room.Steps")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def redis(clock: ManualClock) -> Iterator[Any]:  # its replies are typed as awaitable or not; here they are not
    with fake_redis(clock) as redis:
        yield redis


def messages(count: int, lane: Lane = LANES[0], *, priority: int = 0, named: str = "") -> list[Queued]:
    return [Queued(lane, priority, f'{{"n": "{named}{number}"}}\n\0ü') for number in range(count)]


def accepted(redis: Any, queued: list[Queued]) -> str:
    some = Batches(redis)
    batch = some.stage([entry_of(one) for one in queued])
    some.accept(batch, len(queued))
    return batch


def waiting(redis: Any, name: str) -> list[str]:
    """Return the messages of a list, first to last."""
    return [message.decode() for message in reversed(redis.lrange(name, 0, -1))]


def by_list(queued: list[Queued]) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for one in queued:
        lists.setdefault(one.list, []).append(one.message)
    return lists


def test_nothing_waits_before_the_batch_is_accepted_and_all_of_it_after(redis: Any) -> None:
    queued = messages(300) + messages(300, LANES[1], priority=9)
    some = Batches(redis)
    batch = some.stage([entry_of(one) for one in queued])
    assert some.finish() == 0
    assert redis.exists(*by_list(queued), ARRIVALS) == 0
    some.accept(batch, len(queued))
    some.finish()
    assert {name: waiting(redis, name) for name in by_list(queued)} == by_list(queued)
    assert redis.smembers(ARRIVALS) == {lane.name.encode() for lane in LANES}
    assert redis.lrange(WAKE, 0, -1) == [b"1"]
    assert set(redis.keys()) == {*(name.encode() for name in by_list(queued)), ARRIVALS.encode(), WAKE.encode()}


a_batch = st.lists(st.tuples(st.sampled_from(LANES), st.integers(0, 9)), min_size=1, max_size=30)


@settings(max_examples=100)
@given(sizes=st.lists(a_batch, min_size=1, max_size=4), data=st.data())
def test_however_many_spread_them_in_whatever_order_each_message_is_in_its_lane_once_and_in_order(
    sizes: list[list[tuple[Lane, int]]], data: st.DataObject
) -> None:
    redis: Any = FakeRedis(server=FakeServer())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "PIECE", 4)
        whole: list[list[Queued]] = []
        ids: list[str] = []
        for number, entries in enumerate(sizes):
            queued = [Queued(lane, level, f"{number}.{at}") for at, (lane, level) in enumerate(entries)]
            whole.append(queued)
            ids.append(accepted(redis, queued))
        for batch in data.draw(st.lists(st.sampled_from(ids), max_size=30)):
            Batches(redis).spread(batch)
            if data.draw(st.booleans()):
                Batches(redis).finish(steps=data.draw(st.integers(0, 3)))
        while redis.exists(BATCHES):
            Batches(redis).finish(steps=2)
    for number, queued in enumerate(whole):
        for name, expected in by_list(queued).items():
            assert [one for one in waiting(redis, name) if one.startswith(f"{number}.")] == expected
    everything = Counter(one for name in redis.keys("streamstop.lane.*") for one in waiting(redis, name.decode()))
    assert everything == Counter(one.message for queued in whole for one in queued)
    assert redis.keys(f"{BATCH}*") == []
    assert not redis.exists(STAGED)


def test_the_sweep_asks_once_where_there_is_no_batch_and_works_no_longer_than_told(redis: Any) -> None:
    assert Batches(redis).finish() == 0
    accepted(redis, messages(1000))
    assert Batches(redis).finish(steps=3) == 3
    assert redis.llen(LANES[0].queue) == 3 * batches.PIECE
    Batches(redis).finish()
    assert redis.llen(LANES[0].queue) == 1000
    assert Batches(redis).finish() == 0


def test_a_killed_producers_staged_batch_is_discarded_after_some_minutes_and_not_before(
    redis: Any, clock: ManualClock
) -> None:
    some = Batches(redis)
    batch = some.stage([entry_of(one) for one in messages(600)])
    for _ in range(5):
        some.finish()
        clock.advance(timedelta(minutes=1))
    assert redis.llen(f"{BATCH}{batch}") == 600
    clock.advance(timedelta(minutes=1))
    some.finish()
    assert redis.keys() == []
    with pytest.raises(StagingLost):
        some.accept(batch, 600)
    some.finish()
    assert redis.keys() == []


def test_an_accepted_batch_is_never_discarded_however_late_a_worker_comes(redis: Any, clock: ManualClock) -> None:
    some = Batches(redis)
    batch = some.stage([entry_of(one) for one in messages(600)])
    some.finish()
    some.accept(batch, 600)
    clock.advance(timedelta(days=30))
    some.finish(steps=1)
    clock.advance(timedelta(days=30))
    some.finish()
    assert redis.llen(LANES[0].queue) == 600


def test_a_batch_that_was_discarded_while_it_was_staged_is_not_begun_again(redis: Any) -> None:
    class Discards(FakeRedis):
        def lpushx(self, name: Any, *values: Any) -> Any:
            redis.delete(name)
            return super().lpushx(name, *values)

    with pytest.raises(StagingLost):
        Batches(Discards(server=redis.connection_pool.connection_kwargs["server"])).stage(["0 a.b.C\nm"] * 600)
    assert redis.keys(f"{BATCH}*") == []


def test_a_lane_whose_key_is_not_a_list_delays_only_its_own_batch_and_loses_no_message(redis: Any) -> None:
    redis.set(LANES[0].queue, "x")
    accepted(redis, messages(10))
    accepted(redis, messages(10, LANES[1]))
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        Batches(redis).finish()
    assert redis.llen(LANES[1].queue) == 10
    redis.delete(LANES[0].queue)
    Batches(redis).finish()
    assert waiting(redis, LANES[0].queue) == [one.message for one in messages(10)]


def test_a_staged_message_without_a_lane_waits_in_the_control_lane(redis: Any) -> None:
    some = Batches(redis)
    strange = ["", "5 a.b.C\nm", "no lane at all", "0 a.b.C without a line", "0 a.b.C\nm"]
    some.accept(some.stage(strange), len(strange))
    some.finish()
    assert waiting(redis, CONTROL.queue) == strange[:-1]
    assert waiting(redis, Lane("a", "b.C").queue) == ["m"]
