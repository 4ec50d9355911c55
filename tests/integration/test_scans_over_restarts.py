"""Redis restarts while a worker scans: the cursor of the scan is invalid for the new process."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streamstop import Command
from streamstop._redis.lanes import Lanes
from streamstop._redis.rooms import Rooms
from streamstop.operations import StopMPUTask
from streamstop_simulator.demo.embedded_redis import RedisServer, redis_server
from streamstop_worker.shutdowns.fan_out import Shutdowns
from tests.support.redis_content import SURVIVES_A_KILL

TASKS = 1500
COMMANDS = [Command(operation=StopMPUTask(app_id="a", task_id=f"t-{n}"), account="acc") for n in range(TASKS)]


@dataclass(frozen=True)
class Scene:
    """A room that is closing, on a Redis that keeps everything."""

    server: RedisServer
    redis: Any
    rooms: Rooms
    shutdowns: Shutdowns
    shutdown: str

    def held(self, *fields: str) -> list[int]:
        return [int(value) for value in self.redis.hmget(f"streamstop.shutdown.{self.shutdown}", fields)]

    def run(self, steps: Iterator[int], *, restart_after: int) -> None:
        """Take the steps, and restart Redis after some of them."""
        for _ in range(restart_after):
            next(steps)
        self.server.process.kill()
        self.server.process.wait()
        with redis_server(*SURVIVES_A_KILL, folder=self.server.folder, port=self.server.port):
            list(steps)
            assert self.held("total", "scanned") == [TASKS, 1]
            assert self.redis.hlen(f"streamstop.shutdown.{self.shutdown}:tasks") == TASKS


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    now = datetime.now(UTC)
    with redis_server(*SURVIVES_A_KILL, folder=tmp_path) as server, server.client() as redis:
        lanes = Lanes(redis)
        rooms = Rooms(redis, lanes)
        for start in range(0, TASKS, 500):
            rooms.register("room", COMMANDS[start : start + 500], now=now)
        shutdown = rooms.open("room", [], now=now, verify=False, callback=None)
        yield Scene(server, redis, rooms, Shutdowns(rooms, lanes), shutdown)


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_a_fan_out_passes_over_no_task(scene: Scene, steps: int) -> None:
    scene.run(scene.shutdowns.fan_out(scene.shutdown), restart_after=steps)


@pytest.mark.parametrize("steps", [1, 9, 20])
def test_a_cancel_passes_over_no_job(scene: Scene, steps: int) -> None:
    list(scene.shutdowns.fan_out(scene.shutdown))
    assert scene.rooms.cancel(scene.shutdown)
    before = scene.rooms.shutdowns.progress(scene.shutdown)
    assert before is not None
    assert before.ended == 0

    def cancelled() -> Iterator[int]:
        yield from scene.shutdowns.cancel_unclaimed(scene.shutdown)
        assert scene.held("ended") == [TASKS]

    scene.run(cancelled(), restart_after=steps)
