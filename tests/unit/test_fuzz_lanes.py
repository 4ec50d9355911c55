"""No content of a lane makes its scripts fail, and the jobs behind it are served."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from redis import Redis

from streamstop._core.lane import Lane
from streamstop._core.lane_types import LastCall
from streamstop._core.pace import Pace
from streamstop._redis.schedule import Schedule
from streamstop._wire.reports import Ended, Released, Report
from streamstop_simulator.demo.embedded_redis import RedisServer
from streamstop_worker.pipeline.deliveries import deliveries
from tests.support.celery_messages import celery_message, envelope
from tests.support.hostile_messages import hostile_messages
from tests.support.lane_driver import ENDED, KEPT, LEASE, announce, book_for
from tests.support.polling import TIMEOUT_S

LANE = Lane("live-cn", "live.StopMPUTask")
BOOK = book_for(LANE, pace=Pace.of_limit(100_000))
GOOD = f"{LANE.name}.good"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(["body", "headers", "properties", "content-type", "content-encoding"]), JSON, max_size=3
)
HEADERS = st.dictionaries(st.sampled_from(["id", "task", "eta", "compression"]), JSON, max_size=2)
PROPERTIES = st.dictionaries(st.sampled_from(["priority", "delivery_tag", "body_encoding"]), JSON, max_size=2)


def spoilt(fields: dict[str, Any], headers: dict[str, Any], properties: dict[str, Any]) -> bytes:
    whole = envelope(LANE, f"{LANE.name}.spoilt")
    whole["headers"] |= headers
    whole["properties"] |= properties
    return json.dumps(whole | fields).encode()


MESSAGES = (
    st.binary(max_size=200)
    | st.binary(max_size=20).map(
        lambda history: b"\x01" + history + b"\n" + celery_message(LANE, f"{LANE.name}.forged")
    )
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.builds(spoilt, FIELDS, HEADERS, PROPERTIES)
)


def run_empty(redis: Redis) -> bool:
    """Do what workers do until GOOD has ended: take each job, give it back once, and end it; return whether it has."""
    schedule, seen = Schedule(redis), False
    deadline = time.monotonic() + TIMEOUT_S
    returned: set[str] = set()
    while not seen:
        assert time.monotonic() < deadline, "the lane is blocked"
        schedule.sweep(longest_lease=2 * LEASE, period=timedelta(0))
        schedule.find([LANE.account], [LANE.operation])
        take = schedule.take(50, lease=LEASE, book=BOOK)
        assert not take.broken
        reports: list[Report] = []
        for delivery in deliveries(take, asked_at=0.0, taken_at=0.0):
            job = delivery.taken
            if job.job_id not in returned:
                returned.add(job.job_id)
                reports.append(Released(job=job))
            else:
                reports.append(Ended(job=job, call=LastCall.WELL, record=ENDED, kept=KEPT))
                seen = seen or job.job_id == GOOD
        assert None not in schedule.report(reports).rests
    return seen


def hold(redis: Redis, messages: list[bytes]) -> None:
    redis.flushall()
    for number, message in enumerate(messages):
        redis.lpush(LANE.waiting[number % 4], message)
    redis.lpush(LANE.waiting[3], celery_message(LANE, GOOD, priority=9))


@settings(max_examples=150)
@given(st.lists(MESSAGES, max_size=8))
@example([b"[" * 100_000, b'{"a":' * 2000, b"1e999", b"\xff", b""])
@example([json.dumps(envelope(LANE, "x" * 100_000)).encode()])
@example([b'{"headers": {"id": "a"}, "headers": {"id": "b", "task": "streamstop.execute"}}'])
@example([spoilt({}, {}, {"priority": float("nan")}), spoilt({}, {}, {"priority": -1e308})])
def test_no_message_makes_a_script_fail_or_blocks_the_lane(redis_process: RedisServer, messages: list[bytes]) -> None:
    with redis_process.client() as redis:
        hold(redis, messages)
        assert run_empty(redis)


@pytest.mark.parametrize(
    "message",
    [
        spoilt({}, {"compression": "bzip2"}, {}),
        spoilt({}, {"compression": {}}, {}),
        spoilt({}, {}, {}).replace(b"spoilt", b"spo\x01ilt"),
        spoilt({}, {}, {}).replace(b"spoilt", b"spo\0ilt"),
        spoilt({}, {}, {}).replace(b"spoilt", b"spo\xffilt"),
        spoilt({}, {}, {}).replace(b"spoilt", b"spo\\ud800ilt"),
    ],
)
def test_a_message_that_is_not_a_command_is_never_begun(redis_process: RedisServer, message: bytes) -> None:
    with redis_process.client() as redis:
        redis.flushall()
        redis.lpush(LANE.queue, message)
        announce(redis, LANE)
        take = Schedule(redis).take(50, lease=LEASE, book=BOOK)
        assert all(delivery.problem for delivery in deliveries(take, asked_at=0.0, taken_at=0.0))
        assert redis.llen(LANE.queue) == 0


@pytest.mark.parametrize("seed", range(2))
def test_a_crowd_of_hostile_messages_blocks_no_lane(redis_process: RedisServer, seed: int) -> None:
    with redis_process.client() as redis:
        hold(redis, list(hostile_messages(LANE, 700, seed)))
        assert run_empty(redis)
