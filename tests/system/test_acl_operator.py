"""Redis' access rules for people on call: they look, pause, limit, drain and requeue dead letters, and enqueue none."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from streamstop import Became, Client, Command, EventKind, LaneState, QueueUnavailable, Result, ShutdownStatus
from streamstop._core.constants import ARRIVALS
from streamstop._core.lane import result_key
from streamstop._core.lane_types import Queued
from streamstop._core.membership import Membership
from streamstop._redis.lanes import Lanes
from streamstop._redis.rooms import CALLBACKS, Entry, Rooms
from streamstop._wire.messages import celery_message
from streamstop_simulator import SimulatorClient, run_in_thread
from tests.support.access_rules import (
    LANE,
    OPERATOR,
    ROOMS,
    WORKER,
    RestrictedRedis,
    restricted_redis,
    restricted_worker,
    stop,
)
from tests.support.redis_content import everything_in
from tests.support.workers import WorkerProcess
from tests.support.world import ALIYUN

TIMEOUT = 60
#: What Redis refuses while an operator requeues: the requeued message then takes its place by other commands.
REQUEUE = [f"{OPERATOR}: lpush 1"]


@pytest.fixture(scope="module")
def restricted() -> Iterator[RestrictedRedis]:
    with restricted_redis() as restricted:
        yield restricted


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorClient]:
    with run_in_thread() as simulator:
        simulator.settings(auto_start=True)
        yield simulator


@pytest.fixture(scope="module")
def running(
    restricted: RestrictedRedis, simulator: SimulatorClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerProcess]:
    """A worker under the page's rules."""
    with restricted_worker(restricted, simulator, tmp_path_factory.mktemp("acl")) as process:
        yield process


@pytest.fixture
def operator(restricted: RestrictedRedis) -> Iterator[Client]:
    restricted.admin.acl_log_reset()
    with restricted.client(OPERATOR) as client:
        yield client


@pytest.fixture
def rooms(restricted: RestrictedRedis) -> Iterator[Client]:
    with restricted.client(ROOMS) as client:
        yield client


def of_operator(restricted: RestrictedRedis) -> list[str]:
    """What Redis has refused to the operator."""
    return [denied for denied in restricted.denied() if denied.startswith(OPERATOR)]


def refuse(simulator: SimulatorClient, task_id: str) -> None:
    simulator.add_fault("code", task=stop(task_id).params, code="Forbidden.RAM")


def test_an_operator_looks_at_jobs_lanes_and_errors(
    running: WorkerProcess, restricted: RestrictedRedis, simulator: SimulatorClient, rooms: Client, operator: Client
) -> None:
    simulator.add_fault("500", task=stop("looked at").params)
    refuse(simulator, "looked at")
    job = rooms.enqueue(stop("looked at"), account=ALIYUN)
    assert operator.job(job.id).outcome(TIMEOUT).result is Result.REFUSED
    view = operator.job(job.id).look()
    assert view is not None
    assert [answer.became for answer in view.answers] == [Became.RETRIED, Became.ENDED]
    assert ALIYUN in operator.accounts()
    assert operator.lanes([LANE])[0].pace is not None
    assert ("Forbidden.RAM", ALIYUN) in {(error.code, error.account) for error in operator.errors()}
    assert operator.events() is not None
    assert list(operator.follow_events(timeout=0.2)) == []
    assert of_operator(restricted) == []


def test_an_operator_requeues_and_drops_dead_letters(
    running: WorkerProcess, restricted: RestrictedRedis, simulator: SimulatorClient, rooms: Client, operator: Client
) -> None:
    for task_id in ("requeued", "dropped"):
        refuse(simulator, task_id)
    jobs = [rooms.enqueue(stop(task_id), account=ALIYUN) for task_id in ("requeued", "dropped")]
    assert {job.outcome(TIMEOUT).result for job in jobs} == {Result.REFUSED}
    letters = operator.dead_letters
    assert {job.id for job in jobs} <= {letter.id for letter in letters.letters()}
    letters.drop(jobs[1].id)
    again = letters.requeue(jobs[0].id)
    assert operator.job(again.id).outcome(TIMEOUT).result is Result.STOPPED
    assert of_operator(restricted) == REQUEUE


def test_requeued_letters_wait_in_their_order_behind_others() -> None:
    with restricted_redis() as restricted, restricted.client(OPERATOR) as operator:
        lists = [LANE.waiting[1]]
        script: Any = restricted.redis(WORKER).register_script(_push_to_back())
        with restricted.redis(OPERATOR) as redis:
            for text in ("a", "b", "c", "b"):
                script(keys=lists, args=[text], client=redis)
        assert restricted.admin.lrange(lists[0], 0, -1) == [b"b", b"c", b"b", b"a"]
        assert operator.lanes([LANE])[0].waiting == 4


def _push_to_back() -> str:
    path = Path(__file__).parents[2] / "producers/streamstop/_redis/lua/lib/back.lua"
    return f"{path.read_text()}\npush_to_back(KEYS[1], ARGV[1])"


def test_an_operator_watches_a_room_and_requeues_its_letters(
    running: WorkerProcess, restricted: RestrictedRedis, simulator: SimulatorClient, rooms: Client, operator: Client
) -> None:
    refuse(simulator, "of a room")
    shutdown = rooms.stop_room("watched", [Command(operation=stop("of a room"), account=ALIYUN)])
    watched = operator.shutdown(shutdown.id)
    assert watched.wait(TIMEOUT).results == {Result.REFUSED: 1}
    assert operator.room("watched").shutdown == shutdown.id
    (outcome,) = watched.outcomes()
    operator.dead_letters.requeue(outcome.job_id)
    assert watched.wait(TIMEOUT).results == {Result.STOPPED: 1}
    assert of_operator(restricted) == REQUEUE


def test_an_operator_pauses_and_limits_and_is_refused_nothing(restricted_alone: RestrictedRedis) -> None:
    with restricted_alone.client(OPERATOR) as operator:
        operator.pause(ALIYUN, lasting=60, reason="tried")
        operator.set_limit(ALIYUN, LANE.operation, 2, lasting=60)
        assert [pause.scope for pause in operator.pauses()] == [ALIYUN]
        assert [limit.limit for limit in operator.limits()] == [2]
        view = operator.lanes([LANE])[0]
        assert view.paused is not None
        assert view.limit_override is not None
        assert operator.resume(ALIYUN)
        assert operator.clear_limit(ALIYUN, LANE.operation)
        assert operator.holds() == []
        assert operator.workers() == []
        kinds = [event.kind for event in operator.events()]
        assert kinds == [EventKind.PAUSED, EventKind.LIMIT_SET, EventKind.RESUMED, EventKind.LIMIT_CLEARED]
        assert of_operator(restricted_alone) == []


def test_a_worker_under_the_rules_obeys_a_pause_of_an_operator(
    running: WorkerProcess, restricted: RestrictedRedis, rooms: Client, operator: Client
) -> None:
    assert [worker.name for worker in operator.workers()] == ["w1@test"]
    operator.pause(ALIYUN)
    job = rooms.enqueue(stop("paused"), account=ALIYUN)
    view = operator.lanes([LANE])[0]
    assert (view.state, view.waiting) == (LaneState.PAUSED, 1)
    assert operator.resume(ALIYUN)
    assert operator.job(job.id).outcome(TIMEOUT).result is Result.STOPPED
    assert [denied for denied in restricted.denied() if "rooms" not in denied] == []


def test_an_operator_finds_and_drains(restricted_alone: RestrictedRedis) -> None:
    with restricted_alone.client(ROOMS) as rooms, restricted_alone.client(OPERATOR) as operator:
        jobs = rooms.enqueue_many([Command(operation=stop(f"drained-{n}"), account=ALIYUN) for n in range(300)])
        rooms.register("found", stop("drained-0"), account=ALIYUN)
        found = list(operator.find({"TaskId": "drained-0"}))
        assert [sighting.job_id for sighting in found] == [jobs[0].id, None]
        assert operator.drain(ALIYUN).jobs == 300
        assert operator.lanes([LANE])[0].waiting == 0
        assert operator.job(jobs[-1].id).outcome(TIMEOUT).result is Result.CANCELLED
        assert EventKind.DRAINED in {event.kind for event in operator.events()}
        assert of_operator(restricted_alone) == []


def test_the_doctor_tells_an_operator_what_is_wrong(restricted_alone: RestrictedRedis) -> None:
    with restricted_alone.client(OPERATOR) as operator:
        diagnosis = operator.diagnose()
    assert any("worker" in finding.text for finding in diagnosis.problems)


def test_a_shutdown_whose_last_job_an_operator_drains_calls_the_service_back(restricted_alone: RestrictedRedis) -> None:
    with restricted_alone.client(ROOMS) as client, restricted_alone.redis(WORKER) as redis:
        rooms, command = Rooms(redis, Lanes(redis)), Command(operation=stop("last"), account=ALIYUN)
        shutdown = client.stop_room("drained", [command], callback="https://service.example/ended")
        ((member, text),) = rooms.shutdowns.todo(shutdown.id, 1)
        membership, job_id = Membership(shutdown=shutdown.id, member=member), LANE.new_job_id()
        message = celery_message(job_id, LANE, membership.in_message(json.loads(text)))
        rooms.push(shutdown.id, [Entry(member, text, job_id, Queued(LANE, 0, message))])
        rooms.scanned(shutdown.id)
        with restricted_alone.client(OPERATOR) as operator:
            assert operator.drain(ALIYUN, room="drained").jobs == 1
            progress = operator.shutdown(shutdown.id).progress()
        assert (progress.status, progress.results) == (ShutdownStatus.DONE, {Result.CANCELLED: 1})
        assert restricted_alone.admin.llen(CALLBACKS.queue) == 1
        assert of_operator(restricted_alone) == REQUEUE


def test_an_operator_cancels_a_job_that_waits(restricted_alone: RestrictedRedis) -> None:
    with restricted_alone.client(ROOMS) as rooms, restricted_alone.client(OPERATOR) as operator:
        job = rooms.enqueue(stop("waits"), account=ALIYUN)
        assert operator.job(job.id).cancel().result is Result.CANCELLED
        assert LANE in {view.lane for view in operator.lanes()}
        assert of_operator(restricted_alone) == []


@pytest.fixture
def restricted_alone() -> Iterator[RestrictedRedis]:
    """A Redis of its own, without a worker."""
    with restricted_redis() as restricted:
        yield restricted


REFUSED: dict[str, Callable[[Client], object]] = {
    "enqueue": lambda client: client.enqueue(stop("t"), account=ALIYUN),
    "enqueue_many": lambda client: client.enqueue_many([Command(operation=stop("t"), account=ALIYUN)] * 2),
    "enqueue a unique command": lambda client: client.enqueue(stop("t"), account=ALIYUN, unique=True),
    "a batch": lambda client: client.enqueue_many([Command(operation=stop("t"), account=ALIYUN)] * 501),
    "register": lambda client: client.register("room", stop("t"), account=ALIYUN),
    "unregister": lambda client: client.unregister("room", stop("t"), account=ALIYUN),
    "stop_room": lambda client: client.stop_room("room"),
    "stop_room with tasks": lambda client: client.stop_room("room", [Command(operation=stop("t"), account=ALIYUN)]),
    "reopen_room": lambda client: client.reopen_room("room"),
    "cancel a shutdown": lambda client: client.shutdown("0" * 32).cancel(),
}


@pytest.mark.parametrize("call", REFUSED)
def test_an_operator_enqueues_nothing_and_a_refused_call_changes_nothing(
    call: str, restricted_alone: RestrictedRedis
) -> None:
    before = everything_in(restricted_alone.admin)
    message = r"this Redis user may not do this \(NOPERM at 127\.0\.0\.1:\d+, database 0\): nothing was"
    with restricted_alone.client(OPERATOR) as client, pytest.raises(QueueUnavailable, match=message):
        REFUSED[call](client)
    restricted_alone.admin.delete(ARRIVALS)  # it may name a lane that holds nothing: a worker looks there once
    assert everything_in(restricted_alone.admin) == before


@pytest.mark.parametrize(
    "text",
    [
        *("FLUSHALL", "FLUSHDB", "KEYS *", "CONFIG SET maxmemory 1", "EVAL return 0", "SAVE", "MONITOR", "SHUTDOWN"),
        *("SCRIPT FLUSH", "CLIENT KILL x", "ACL LIST", "PUBLISH other x", "SET other x", "GET other"),
        *(
            "LPUSH {queue} x",
            "LPUSHX {queue} x",
            "LPOP {queue}",
            "RPOP {queue}",
            "LTRIM {queue} 1 0",
            "LMOVE {queue} x LEFT LEFT",
        ),
        *(
            "RENAME {queue} x",
            "LPUSH streamstop.batches x",
            "SADD streamstop.staged x",
            "SPOP {arrivals}",
            "SREM {arrivals} x",
        ),
        *("RENAME {record} x", "SETEX {record} 9 x", "GETSET {record} x", "APPEND {record} x"),
    ],
)
def test_an_operator_may_not(text: str, restricted: RestrictedRedis) -> None:
    words = text.format(queue=LANE.queue, arrivals=ARRIVALS, record=result_key("id")).split(" ")
    with restricted.redis(OPERATOR) as redis:
        call: Any = redis.execute_command
        with pytest.raises(NoPermissionError):
            call(*words)
