"""The jobs of one lane, page by page, as people on call list them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from streamstop import Client, Command, InvalidCommand, Lane, Sighting, Where
from streamstop.operations import StopMPUTask
from streamstop.testing import RecordingAsyncClient, RecordingClient
from tests.support.lane_driver import LaneDriver

SECOND = timedelta(seconds=1)


def names(found: list[Sighting]) -> list[str]:
    return [str(each.job_id).rpartition(".")[2] for each in found]


def test_what_waits_is_listed_in_the_order_of_service_over_all_priorities(lane: LaneDriver) -> None:
    lane.publish("low", priority=9)
    lane.publish(*range(4))
    lane.publish("middle", priority=3)
    found = lane.lanes.jobs(lane.lane, Where.WAITING, 0, 50)
    assert names(found) == ["0", "1", "2", "3", "middle", "low"]
    assert [each.place for each in found] == [1, 2, 3, 4, 5, 6]
    pages = [lane.lanes.jobs(lane.lane, Where.WAITING, first, 4) for first in (0, 4, 8)]
    assert [each for page in pages for each in page] == found
    assert [len(page) for page in pages] == [4, 2, 0]
    assert names(lane.lanes.jobs(lane.lane, Where.WAITING, 3, 2)) == ["3", "middle"]


def test_a_cancelled_job_and_what_is_no_job_are_left_out(lane: LaneDriver) -> None:
    lane.publish("a", "b")
    lane.push(b"no message")
    lane.publish("c")
    lane.cancel("b")
    found = lane.lanes.jobs(lane.lane, Where.WAITING, 0, 50)
    assert (names(found), [each.place for each in found]) == (["a", "c"], [1, 4])


def test_jobs_in_flight_and_deferred_jobs_are_listed_apart(lane: LaneDriver) -> None:
    lane.publish("a", "b", "c")
    for _ in range(3):
        lane.take_next()
    lane.retry("a", delay=9 * SECOND)
    lane.retry("b", delay=3 * SECOND)
    assert names(lane.lanes.jobs(lane.lane, Where.IN_FLIGHT, 0, 50)) == ["c"]
    deferred = lane.lanes.jobs(lane.lane, Where.DEFERRED, 0, 50)
    assert names(deferred) == ["b", "a"], "the next call first"
    due = [each.at - datetime.fromtimestamp(lane.clock.seconds(), UTC) for each in deferred if each.at]
    assert due == [pytest.approx(3 * SECOND, abs=SECOND / 10), pytest.approx(9 * SECOND, abs=SECOND / 10)]
    assert names(lane.lanes.jobs(lane.lane, Where.DEFERRED, 1, 1)) == ["a"]


def test_a_client_in_memory_lists_its_open_jobs() -> None:
    client = RecordingClient(accounts={"live-cn": "aliyun"}, leave_open=True)
    command = Command(operation=StopMPUTask(app_id="a", task_id="t"), account="live-cn")
    jobs = client.enqueue_many([command] * 3)
    assert [each.job_id for each in client.lane_jobs(command.lane, first=1)] == [jobs[1].id, jobs[2].id]
    assert client.lane_jobs(command.lane, Where.DEFERRED) == []
    assert client.lane_jobs(Lane("live-cn", "rtc.StopMPUTask")) == []


def test_the_asynchronous_client_lists_the_same() -> None:
    recording = RecordingClient(accounts={"live-cn": "aliyun"}, leave_open=True)
    command = Command(operation=StopMPUTask(app_id="a", task_id="t"), account="live-cn")
    recording.enqueue_many([command])
    listed = asyncio.run(RecordingAsyncClient(recording).lane_jobs(command.lane))
    assert listed == recording.lane_jobs(command.lane)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"where": "dead"}, "where"),
        ({"where": 1}, "where"),
        ({"first": -1}, "first"),
        ({"first": True}, "first"),
        ({"most": 0}, "most"),
        ({"most": 1001}, "most"),
        ({"most": 1.5}, "most"),
    ],
)
def test_what_cannot_be_listed_is_refused_before_redis_is_asked(arguments: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidCommand) as refused, Client("redis://127.0.0.1:1") as client:
        client.lane_jobs(Lane("live-cn", "live.StopMPUTask"), **arguments)  # type: ignore[arg-type]
    assert refused.value.field == field
