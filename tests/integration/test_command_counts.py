"""How many commands Redis runs for what workers do all the time. Those inside scripts count too."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from streamstop._core.answers import Became, CallAnswer
from streamstop._core.constants import SCHEDULE, SWEPT
from streamstop._core.controls import Pause
from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory, LastCall, Taken
from streamstop._core.stream_tasks import TaskNote
from streamstop._redis.controls import ControlStore
from streamstop._redis.workers import Workers
from streamstop._wire.reports import Ended, KeptAnswer, Throttled
from streamstop.operations import Kind
from streamstop.outcomes import Result
from streamstop_worker.upkeep import sweep
from streamstop_worker.upkeep.sweep import PARTS, Sweeper
from tests.support.lane_driver import ENDED, KEPT, LaneDriver
from tests.support.manual_clock import ManualClock
from tests.support.signs_of_life import sign_of_life
from tests.support.sweeper import accounts_in, sweeper_of


class Meter:
    """Counts the commands of one Redis by name, without its own."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._before = self._read()

    def since(self) -> dict[str, int]:
        """Return what was run since the last call."""
        now = self._read()
        cost = {name: more for name, calls in now.items() if (more := calls - self._before.get(name, 0))}
        self._before = now
        return cost

    def _read(self) -> dict[str, int]:
        stats: Any = self._redis.info("commandstats")
        names = {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()}
        return {name: calls for name, calls in names.items() if name != "info"}


@pytest.fixture
def meter(real_redis: Redis) -> Meter:
    return Meter(real_redis)


@pytest.fixture
def sweeper(real_redis: Redis, tmp_path: Path) -> Sweeper:
    sweeper = sweeper_of(real_redis, accounts_in(tmp_path))
    sweeper.publish()
    sweep_anew(real_redis, sweeper)
    return sweeper


def sweep_anew(redis: Redis, sweeper: Sweeper) -> None:
    """Sweep as if the last sweep was two seconds ago."""
    last: Any = redis.get(SWEPT)
    if last is not None:
        redis.set(SWEPT, int(last) - 2_000_000, ex=60)
    sweeper.sweep()


def take_one(lane: LaneDriver, meter: Meter) -> tuple[Taken, dict[str, int]]:
    """Take the lane's next job as soon as it is due; return the cost of the look that found it."""
    for _ in range(1000):
        meter.since()
        jobs = lane.schedule.take(1, lease=timedelta(seconds=15), book=lane.book, arrivals=False).jobs
        cost = meter.since()
        if jobs:
            return jobs[0], cost
        time.sleep(0.001)  # the lane's next slot is less than a tenth of a second away, by the server's clock
    raise AssertionError("the lane gives nothing")


def test_a_job_of_a_lane_with_a_backlog_costs_one_look_and_one_report(real_redis: Redis, meter: Meter) -> None:
    lane = LaneDriver(real_redis, ManualClock(), limit=20)
    lane.publish(*range(4))
    lane.look(1)  # loads the script, and takes the arrivals
    costs = []
    for number in range(2):
        job, taking = take_one(lane, meter)
        note = TaskNote(
            task_id=f"t-{number}",
            job_id=job.job_id,
            lane=job.lane,
            params={},
            kind=Kind.STOP,
            state=Result.STOPPED,
            in_doubt=False,
            at=datetime.now(UTC),
        )
        (rest,) = lane.report(Ended(job=job, call=LastCall.WELL, record=ENDED, kept=KEPT, note=note)).rests
        assert rest is not None
        costs.append((sum(taking.values()), sum(meter.since().values())))
    assert costs[1] == (14, 10)


def test_an_answer_after_which_a_job_goes_on_costs_one_command_and_the_next_three(
    real_redis: Redis, meter: Meter
) -> None:
    def cost(lane: LaneDriver, number: int, kept: KeptAnswer | None) -> int:
        """Return what the report of a throttled call costs."""
        real_redis.hset(lane.lane.pace, "rest", 0)
        real_redis.zadd(SCHEDULE, {lane.lane.name: 0})
        job, _ = take_one(lane, meter)
        history = AttemptHistory(calls=number)
        (rest,) = lane.report(Throttled(job=job, hint=None, history=history, answered=kept)).rests
        assert rest is not None
        return sum(meter.since().values())

    costs = []
    for account in ("first", "without", "with"):
        lane = LaneDriver(real_redis, ManualClock(), limit=20, lane=Lane(account, "live.StopMPUTask"))
        lane.publish("a")
        lane.look(0)  # takes the arrivals
        answers = [CallAnswer(number=number, became=Became.THROTTLED) for number in range(1, 4)]
        kept = [KeptAnswer(answer, KEPT) if account == "with" else None for answer in answers]
        costs.append([cost(lane, number, one) for number, one in enumerate(kept, 1)])
    _, without, with_answers = costs  # the first also loads the scripts
    more = [cost - before for cost, before in zip(with_answers, without, strict=True)]
    assert more == [1, 3, 3]


def test_an_idle_sweep_asks_for_everything_at_once(real_redis: Redis, sweeper: Sweeper, meter: Meter) -> None:
    for _ in range(PARTS - 1):  # each of PARTS sweeps reads the accounts
        meter.since()
        sweep_anew(real_redis, sweeper)
    cost = meter.since()
    assert cost == {
        "get": 1,
        "set": 2,  # the set of `sweep_anew`, and its get
        "evalsha": 2,
        "time": 1,
        "getex": 1,
        "exists": 2,
        "zrange": 1,
        "zrangebyscore": 4,
    }


def test_a_worker_leaves_every_second_sweep_to_the_one_that_sweeps(
    sweeper: Sweeper, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "EVERY", timedelta(hours=1))  # the fixture's sweep was the last
    costs = []
    for _ in range(4):
        meter.since()
        sweeper.sweep()
        costs.append(sum(meter.since().values()))
    assert costs == [3, 0, 3, 0]


def test_a_sweep_ends_pauses_only_while_there_are_some(real_redis: Redis, sweeper: Sweeper) -> None:
    now = datetime.now(UTC)
    controls = ControlStore(real_redis)
    controls.pause(Pause(scope="all", at=now, until=now - timedelta(seconds=1), by="x", reason=""))
    sweep_anew(real_redis, sweeper)
    assert controls.read().pauses == {}


def test_a_sign_of_life_costs_five_commands(real_redis: Redis, meter: Meter) -> None:
    workers = Workers(real_redis)
    workers.beat("run", sign_of_life(), text="")
    meter.since()
    workers.beat("run", sign_of_life(), text="")
    assert meter.since() == {"evalsha": 1, "time": 1, "hgetall": 1, "expire": 1, "hset": 1}
