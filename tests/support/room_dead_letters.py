"""A room's jobs that end as dead letters, with each step made by the test."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from streamstop import Progress, Result
from streamstop._core.lane import Lane
from streamstop._core.lane_types import LastCall, Taken
from streamstop._core.letters import dead_letter_record
from streamstop._core.membership import Membership, member_result_of
from streamstop._wire.reports import Ended, Released
from streamstop._wire.results import outcome_record
from streamstop.outcomes import Outcome
from tests.support.room_driver import LANE, ROOM, RoomDriver


def argument_of(message: bytes) -> dict[str, Any]:
    """Return a command's JSON data."""
    data: dict[str, Any] = json.loads(json.loads(message)["body"])[0][0]
    return data


class RoomDeadLetterDriver(RoomDriver):
    """A driver for rooms whose jobs can end as dead letters, which it can requeue."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.dead = self.client.dead_letters

    def finish(self, name: str, result: Result, *, lane: Lane = LANE) -> str:
        """Let the waiting job of a task end as a worker does; return its id."""
        others: list[Taken] = []
        while jobs := self.take(lane).jobs:
            (job,) = jobs
            if argument_of(job.message)["params"]["TaskId"] == name:
                self.report(job, result)
                self.schedule.report([Released(job=other) for other in others])
                return job.job_id
            others.append(job)
        raise AssertionError(f"no job of {name} waits")

    def report(self, job: Taken, result: Result) -> None:
        argument = argument_of(job.message)
        membership = Membership.of_message(argument)
        outcome = Outcome(
            result=result,
            job_id=job.job_id,
            account=LANE.account,
            operation=LANE.operation,
            params=argument["params"],
            ended_at=datetime.now(UTC),
        )
        member_result = None if membership is None else member_result_of(membership, outcome)
        letter = dead_letter_record(argument, membership, outcome, member_result)
        record = outcome_record(outcome)
        ended = Ended(
            job=job,
            record=record,
            kept=timedelta(days=1),
            call=LastCall.WELL,
            member_result=member_result,
            letter=letter,
        )
        assert self.schedule.report([ended]).rests == [timedelta(0)]

    def requeue(self) -> str:
        """Requeue the only letter."""
        (letter,) = self.dead.letters()
        return self.dead.requeue(letter.id).id

    def expire_closed_room(self) -> None:
        """Skip the time for which a closed room stops newly registered tasks."""
        assert self.redis.hset(f"streamstop.room.{ROOM}:state", "closed_until", 1) == 0

    def registered(self) -> list[str]:
        return sorted(str(task.operation.params["TaskId"]) for task in self.client.room(ROOM).tasks)


def assert_exact(progress: Progress) -> None:
    counts = [(lane.total, lane.ended) for lane in progress.lanes]
    assert sum(total for total, _ in counts) == progress.total
    assert sum(ended for _, ended in counts) == progress.ended == sum(progress.results.values())
    assert all(count > 0 for count in progress.results.values())
