"""A job's record in Celery's result backend is written by the lanes' scripts, and by nobody else."""

from datetime import timedelta
from pathlib import Path

import pytest

from streamstop import Result
from streamstop._core.lane import result_key
from streamstop.operations import StopStreamIngest
from tests.support.world import TENCENT, world

pytestmark = pytest.mark.long

TIMEOUT = 60
#: Celery would keep them for its own result_expires, a day.
KEPT = timedelta(days=3)


def test_celery_does_not_write_a_record_again_after_the_script_did(tmp_path: Path) -> None:
    failing = StopStreamIngest(sdk_app_id=1, task_id="nobody-started-it")
    deferred = StopStreamIngest(sdk_app_id=1, task_id="flaky")
    last = StopStreamIngest(sdk_app_id=1, task_id="last")
    with world(tmp_path, workers=0, environ={"STREAMSTOP_OUTCOMES_KEPT": f"{KEPT.total_seconds():g}"}) as made:
        made.start_worker("--concurrency", "1")  # so that a job's end means that Celery is done with those before it
        made.simulator.start_tasks(TENCENT, [deferred, last])
        made.simulator.add_fault("500", account=TENCENT, task=deferred.params)
        failed_job = made.client.enqueue(failing, account=TENCENT)
        assert failed_job.outcome(TIMEOUT).result is Result.NOT_FOUND
        deferred_job = made.client.enqueue(deferred, account=TENCENT)
        made.simulator.wait_for_calls(2, TENCENT)
        assert made.client.enqueue(last, account=TENCENT).outcome(TIMEOUT).result is Result.STOPPED
        left = [timedelta(seconds=made.redis.ttl(result_key(job.id))) for job in (failed_job, deferred_job)]
    assert all(KEPT - timedelta(minutes=5) < ttl <= KEPT for ttl in left), left
