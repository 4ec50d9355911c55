"""Dead letters that are being requeued while Redis is killed."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamstop import (
    Outcome,
)
from streamstop._core.constants import DEAD
from streamstop_simulator.demo.embedded_redis import redis_server
from tests.support.bad_network import bad_network
from tests.support.dead_letter_world import (
    ENVIRON,
    LIMITS,
    TIMEOUT,
    dead_letters,
    ended_job_ids,
    enqueue_refused,
    run_dead,
    running_tasks,
)
from tests.support.executable import EXECUTABLE, environ, objects
from tests.support.polling import eventually
from tests.support.world import TENCENT, World, world


@contextmanager
def slow_redis(made: World) -> Iterator[str]:
    """Yield the URL of the world's Redis where each answer takes a while, so that no command gets far in a moment."""
    with bad_network(made.server.port) as network:
        network.delay_s = 0.01
        yield f"redis://127.0.0.1:{network.port}/0"


@pytest.mark.long
def test_killing_redis_during_a_requeue_loses_or_doubles_no_letter(tmp_path: Path) -> None:
    persistence = ("--appendonly", "yes", "--appendfsync", "always")
    quick = ENVIRON | {"STREAMSTOP_REDIS_TIMEOUT": "1"}
    with world(tmp_path, limits=LIMITS, environ=quick, redis_options=persistence) as made:
        made.await_account(TENCENT)
        ids = {job.id for job in enqueue_refused(made, "killed", 400)}
        requeueing: list[str | Path] = [EXECUTABLE, "dead", "requeue", "--all", "--yes", "--json"]
        with (
            slow_redis(made) as url,
            subprocess.Popen(
                requeueing, env=environ(url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as first,
        ):
            dead: Any = made.redis
            eventually(lambda: dead.zcard(DEAD) <= 340, "some are requeued")
            made.server.process.kill()
            made.server.process.wait(TIMEOUT)
            output, complaint = first.communicate(timeout=TIMEOUT)
        assert first.returncode == 4
        assert "Redis did not answer" in complaint
        with redis_server(*persistence, folder=made.server.folder, port=made.server.port):
            left = {letter.id for letter in dead_letters(made)}
            assert 0 < len(left) < 400, "in the middle"
            gone = {one["letter"] for one in objects(output)}
            assert gone.isdisjoint(left), "what was said to be requeued is"
            assert len(gone | left) >= 399, "but for one that was under way, and was not said to be"
            second = run_dead(made, "requeue", "--all", "--yes", "--json", "--wait", str(TIMEOUT))
            assert second.returncode == 0, second.stderr
            eventually(lambda: running_tasks(made, "killed") == [], "every task is stopped")
            assert dead_letters(made) == []
            eventually(lambda: len(ended_job_ids(made)) == 800, "every letter has become one job")
            ends = [made.client.job(job_id).peek() for job_id in ended_job_ids(made)]
            by_task = Counter(str((one.params or {})["TaskId"]) for one in ends if isinstance(one, Outcome))
            assert len(ids) == 400
            assert by_task == {f"killed-{n}": 2 for n in range(400)}, "one that was refused, and one more"
            made.workers[0].stop()
