"""A real worker among hostile messages: it survives each, and the valid jobs between them end as they should."""

from pathlib import Path

import pytest

from streamstop import Result
from streamstop._core.lane import Lane
from streamstop.operations import StopMPUTask
from tests.support.hostile_messages import hostile_messages
from tests.support.world import ALIYUN, World, world

pytestmark = pytest.mark.long

STOP = "live.StopMPUTask"
#: So that the jobs that are well all the same do not make the test as long as their lane.
FAST = {STOP: 2000.0}
#: MiB: what a worker has in memory without any, and as much again.
MOST_MEMORY = 400


def memory(made: World) -> float:
    """Return the most MiB that the first worker ever had in memory."""
    status = Path(f"/proc/{made.workers[0].process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def test_a_worker_survives_thousands_of_hostile_messages_and_ends_the_valid_jobs_between(tmp_path: Path) -> None:
    with world(tmp_path, limits=FAST) as made:
        made.simulator.settings(auto_start=True)
        made.await_account(ALIYUN)
        lane, good = Lane(ALIYUN, STOP), []
        for chunk in range(20):
            made.redis.lpush(lane.queue, *hostile_messages(lane, 150, seed=chunk))
            good.append(made.client.enqueue(StopMPUTask(app_id="good", task_id=f"t-{chunk}"), account=ALIYUN))
        outcomes = list(made.client.outcomes(good, timeout=240))
        assert [outcome.result for outcome in outcomes] == [Result.STOPPED] * len(good)
        assert made.workers[0].process.poll() is None
        after = made.client.enqueue(StopMPUTask(app_id="good", task_id="after"), account=ALIYUN)
        assert after.outcome(240).result is Result.STOPPED
        assert memory(made) < MOST_MEMORY
        assert [line for line in made.workers[0].lines() if "exception" in line] == [], "nothing was unforeseen"
