"""Whatever lies in a lane, its scripts do not fail over it, and what lies behind it has its turn."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from redis import Redis

from streamstop.lanes import Claimed, Lane, Lanes, LastCall, Pace
from streamstop.lanes.names import READY_LISTS
from streamstop_worker.demo.embedded_redis import RedisServer
from tests.support.celery_messages import celery_message, envelope
from tests.support.hostile import hostile_messages
from tests.support.lane_hands import ENDED, LEASE

LANE = Lane("live-cn", "live.StopMPUTask")
PACE = Pace.of_limit(100_000)
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
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.builds(spoilt, FIELDS, HEADERS, PROPERTIES)
)


def run_empty(redis: Redis) -> bool:
    """Do what workers do until GOOD has ended: claim each job, give it back once, and end it; return whether it has."""
    lanes, seen = Lanes(redis), False
    raw: Any = redis
    deadline = time.monotonic() + 30
    returned: set[str] = set()
    while not seen:
        assert time.monotonic() < deadline, "the lane is blocked"
        lanes.sweep(LANE, PACE, owner="sweep", lease=2 * LEASE)
        lanes.admit(LANE, PACE)
        for message in iter(lambda: next(filter(None, map(raw.rpop, READY_LISTS)), None), None):
            with suppress(ValueError, RecursionError):  # that is for workers, who set aside what they cannot read
                job_id = json.loads(message)["headers"]["id"]
                owner = f"worker {len(returned)}"
                claim = lanes.claim(LANE, PACE, job_id, owner=owner, lease=LEASE, expires_at=None)
                if claim.what is not Claimed.GO:
                    continue
                if job_id not in returned:
                    returned.add(job_id)
                    assert lanes.release(LANE, PACE, job_id, owner=owner)
                    continue
                assert lanes.finish(LANE, PACE, job_id, owner=owner, record=ENDED, call=LastCall.WELL)
                seen = seen or job_id == GOOD
    return seen


def hold(redis: Redis, messages: list[bytes]) -> None:
    redis.flushall()
    for number, message in enumerate(messages):
        redis.lpush(LANE.waiting[number % 4], message)
    redis.lpush(LANE.waiting[3], celery_message(LANE, GOOD, priority=9))


@settings(max_examples=150, deadline=None)
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
def test_what_only_looks_like_a_message_reaches_no_worker(redis_process: RedisServer, message: bytes) -> None:
    with redis_process.client() as redis:
        redis.flushall()
        redis.lpush(LANE.queue, message)
        assert Lanes(redis).admit(LANE, PACE) == 0
        assert redis.llen(LANE.queue) == 0


@pytest.mark.parametrize("seed", range(2))
def test_a_crowd_of_hostile_messages_blocks_no_lane(redis_process: RedisServer, seed: int) -> None:
    with redis_process.client() as redis:
        hold(redis, list(hostile_messages(LANE, 700, seed)))
        assert run_empty(redis)
