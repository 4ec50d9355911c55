"""A driver for rooms: each method is one step of a producer or a worker on a real Redis."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from streamstop import Client, Command, Result, Shutdown
from streamstop._core.lane import Lane
from streamstop._core.lane_types import Take
from streamstop._core.membership import Membership, member_result_of
from streamstop._redis.lanes import Lanes
from streamstop._redis.rooms import Rooms
from streamstop._redis.schedule import Schedule
from streamstop.operations import StopPublishCdnStream
from streamstop.outcomes import Outcome
from streamstop_worker.shutdowns.fan_out import Shutdowns

LANE = Lane("trtc-intl", "trtc.StopPublishCdnStream")
ROOM = "room"


@dataclass
class RoomDriver:
    """A producer and a worker on one Redis. A worker's job is not executed: the test ends it."""

    redis: Any  # its replies are typed as awaitable or not; here they are not
    client: Client

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.redis)
        self.rooms = Rooms(self.redis, self.lanes)
        self.schedule = Schedule(self.redis)
        self.worker = Shutdowns(self.rooms, self.lanes)

    def register(self, *names: object) -> Shutdown | None:
        return self.client.register_many(ROOM, stops(*names))

    def stop(self, *names: object, **options: Any) -> Shutdown:
        return self.client.stop_room(ROOM, stops(*names), **options)

    def fan_out(self, shutdown: Shutdown) -> None:
        for _ in self.worker.fan_out(shutdown.id):
            pass

    def take_back(self, shutdown: Shutdown) -> None:
        for _ in self.worker.cancel_unclaimed(shutdown.id):
            pass

    def queued(self, lane: Lane = LANE) -> list[dict[str, Any]]:
        """Return the messages of a lane that no worker has taken, first to last."""
        found: list[bytes] = []
        for level in lane.waiting:
            found += reversed(self.redis.lrange(level, 0, -1))
        # A message that a worker put back follows its history and a newline.
        return [json.loads(message.rpartition(b"\n")[2]) for message in found]

    def messages(self, lane: Lane = LANE) -> list[dict[str, Any]]:
        """Return their arguments."""
        return [json.loads(message["body"])[0][0] for message in self.queued(lane)]

    def members(self) -> list[str]:
        """Return the members whose jobs wait in the lane."""
        return [message["shutdown"]["member"] for message in self.messages()]

    def end(self, shutdown: Shutdown, member: str, result: Result = Result.STOPPED) -> None:
        """Let a member's job end, as a worker does."""
        membership = Membership(shutdown=shutdown.id, member=member)
        self.rooms.record_member_result(LANE, member_result_of(membership, outcome(membership, result)))

    def take(self, lane: Lane = LANE) -> Take:
        """Let a worker take the lane's next job."""
        return self.schedule.take_unserved([lane], 1, lease=timedelta(seconds=15))


def stops(*names: object) -> list[Command]:
    return [
        Command(operation=StopPublishCdnStream(sdk_app_id=1, task_id=str(name)), account=LANE.account) for name in names
    ]


def outcome(membership: Membership, result: Result, lane: Lane = LANE) -> Outcome:
    return Outcome(
        result=result,
        job_id=membership.job_id(lane),
        account=lane.account,
        operation=lane.operation,
        ended_at=datetime.now(UTC),
    )
