"""Lanes whose jobs end as dead letters, on a Redis in memory."""

import json
from datetime import timedelta
from typing import Any

from fakeredis import FakeRedis

from streamstop._core.lane import Lane
from streamstop._core.lane_types import Take
from streamstop._core.letters import Matching, dead_letter_record
from streamstop._redis.dead import DeadLetterStore
from streamstop._redis.lanes import Lanes
from streamstop._redis.schedule import Schedule
from streamstop._wire.reports import Ended
from streamstop._wire.results import outcome_record
from streamstop.outcomes import Outcome, Result
from tests.support.celery_messages import celery_message
from tests.support.manual_clock import ManualClock

LANE = Lane("live-cn", "live.StopMPUTask")
OTHER = Lane("trtc-sg", "trtc.StopStreamIngest")
COMMAND = {"v": 1, "operation": LANE.operation, "account": LANE.account, "params": {"AppId": "a", "TaskId": "t"}}


class FailingLanes:
    """Lanes whose jobs end as dead letters, and the store of the letters."""

    def __init__(self, redis: FakeRedis, clock: ManualClock) -> None:
        self.redis = redis
        self.clock = clock
        self.lanes = Lanes(redis)
        self.schedule = Schedule(redis)
        self.dead = DeadLetterStore(redis, self.lanes)

    def fail_job(
        self,
        name: str,
        lane: Lane = LANE,
        *,
        result: Result = Result.REFUSED,
        code: str | None = None,
        command: dict[str, Any] | None = COMMAND,
    ) -> str:
        """Let a job end with `result`; return its id."""
        job_id = f"{lane.name}.{name}"
        outcome = Outcome(
            result=result, job_id=job_id, account=lane.account, operation=lane.operation, code=code, message="because"
        )
        self.redis.lpush(lane.queue, celery_message(lane, job_id))
        (job,) = self.take(lane).jobs
        letter = dead_letter_record(command, None, outcome, None)
        record = outcome_record(outcome)
        ended = Ended(job=job, record=record, kept=timedelta(days=1), letter=letter)
        assert self.schedule.report([ended]).rests == [timedelta(0)]
        self.clock.advance(timedelta(minutes=1))
        return job_id

    def take(self, lane: Lane = LANE) -> Take:
        """Let a worker take the lane's next job; an unreadable message becomes a dead letter."""
        return self.schedule.take_unserved([lane], 1, lease=timedelta(seconds=9))

    def ids(self, **matching: Any) -> list[str]:
        """Return the names of the matching letters, oldest first."""
        return [letter.id.rpartition(".")[2] for letter in self.dead.letters(Matching(**matching))]

    def waiting(self, lane: Lane = LANE) -> list[dict[str, Any]]:
        """Return the messages that wait in the lane."""
        texts: Any = [text for key in lane.waiting for text in self.redis.lrange(key, 0, -1)]
        return [json.loads(text) for text in texts]
