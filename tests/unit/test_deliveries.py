"""Deliveries: what a worker reads from any message."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory, Take, Taken
from streamstop._wire.messages import celery_message
from streamstop_worker.pipeline.deliveries import Delivery, deliveries, read_argument
from tests.support.celery_messages import envelope
from tests.support.hostile_messages import hostile_messages

LANE = Lane("live-cn", "live.StopMPUTask")
NOW_US = 1_767_225_600_000_000


def delivery(message: bytes, *, slot_us: int = 0) -> Delivery:
    taken = Taken(LANE, f"{LANE.name}.1", message, "owner", AttemptHistory(), slot_us, 0)
    now = datetime.fromtimestamp(NOW_US / 1e6, UTC)
    empty: Any = {"ended": [], "unserved_lanes": [], "broken": {}, "next_in": None}
    take = Take(now=now, now_us=NOW_US, jobs=[taken], **empty)
    (made,) = deliveries(take, asked_at=1.0, taken_at=2.0)
    return made


def spoilt(**changes: Any) -> bytes:
    return json.dumps(envelope(LANE, "x") | changes).encode()


def test_the_argument_is_read_from_plain_and_base64_bodies() -> None:
    ours = celery_message("id", LANE, {"v": 1})
    assert read_argument(ours.encode()) == {"v": 1}
    theirs = envelope(LANE, "x")
    assert delivery(json.dumps(theirs).encode()).argument == delivery(spoilt()).argument
    by_name = spoilt(body=json.dumps([[], {"command": {"v": 1}}, None]), properties={})
    assert (delivery(by_name).argument, delivery(by_name).problem) == ({"v": 1}, None)


def test_a_job_waits_until_its_slot_and_one_that_has_none_not_at_all() -> None:
    assert delivery(spoilt(), slot_us=NOW_US + 20_000).wait_s == pytest.approx(0.02)
    assert delivery(spoilt(), slot_us=NOW_US - 20_000).wait_s == 0.0
    assert delivery(spoilt()).wait_s == 0.0


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"", "it cannot be decoded (JSONDecodeError)"),
        (b"\xff", "it cannot be decoded (UnicodeDecodeError)"),
        (b"[" * 100_000, "it cannot be decoded (RecursionError)"),
        (b"1" * 5000, "it cannot be decoded (ValueError)"),
        (b"[]", "its headers do not name the task and a job's id"),
        (spoilt(headers=[]), "its headers do not name the task and a job's id"),
        (spoilt(headers={"task": "another", "id": "x"}), "its headers do not name the task and a job's id"),
        (spoilt(body=5), "its body cannot be decoded (TypeError)"),
        (spoilt(body="é"), "its body cannot be decoded (ValueError)"),
        (spoilt(body="{}", properties={}), "its body is not a list of arguments, keyword arguments and options"),
        (spoilt(body="[[], [], {}]", properties={}), "its body is not a list of arguments"),
        (spoilt(**{"content-type": "application/x-python-serialize"}), "its content type is not application/json"),
        (spoilt(**{"content-type": None}), "its content type is not application/json"),
    ],
)
def test_a_message_that_cannot_be_begun_says_why(message: bytes, said: str) -> None:
    assert said in (delivery(message).problem or "")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("eta", "2999-01-01T00:00:00Z"),
        ("eta", [None, None]),
        ("expires", 5),
        ("expires", "2999-01-01T00:00:00Z"),
        ("timelimit", [1, 2, 3]),
        ("timelimit", 5),
        ("timelimit", [60, None]),
        ("stamped_headers", [[]]),
        ("compression", "application/x-bz2"),
    ],
)
def test_a_header_that_a_lane_has_no_use_for_is_refused(header: str, value: object) -> None:
    fields = envelope(LANE, "x")
    fields["headers"] |= {"timelimit": [None, None], "stamped_headers": None, "compression": None}
    assert delivery(json.dumps(fields).encode()).problem is None
    fields["headers"][header] = value
    assert f"its header {header} is not served" in (delivery(json.dumps(fields).encode()).problem or "")


def test_hostile_messages_are_read_or_say_what_is_wrong() -> None:
    read = [delivery(message) for message in hostile_messages(LANE, 300, seed=1)]
    assert any(one.problem is None for one in read)
    assert any(one.problem is not None for one in read)
