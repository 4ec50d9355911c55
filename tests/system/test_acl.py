"""Redis' access rules as the documentation has them: each user may do what it needs."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from streamstop import Client, Command, QueueUnavailable, Result
from streamstop._core.constants import ACCOUNTS, ARRIVALS, BATCHES, STAGED, WAKE
from streamstop._core.lane import result_key
from streamstop._core.progress import ShutdownStatus
from streamstop._redis.accounts import KnownAccounts
from streamstop._redis.batches import Batches
from streamstop._wire.messages import celery_message
from streamstop_simulator import SimulatorClient, run_in_thread
from tests.support.access_rules import (
    LANE,
    OPERATOR,
    PRODUCER,
    ROOMS,
    SERVER,
    WORKER,
    RestrictedRedis,
    restricted_redis,
    restricted_worker,
    rule_from_redis_7,
    rules,
    stop,
)
from tests.support.executable import objects, run
from tests.support.polling import eventually
from tests.support.workers import WorkerProcess
from tests.support.world import ALIYUN

TIMEOUT = 60


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
    with restricted_worker(restricted, simulator, tmp_path_factory.mktemp("acl"), "-E") as process:
        yield process


@pytest.fixture
def connect(restricted: RestrictedRedis) -> Iterator[Callable[[str], Client]]:
    """Return clients by their Redis user."""
    restricted.admin.acl_log_reset()
    with ExitStack() as stack:
        yield lambda user: stack.enter_context(restricted.client(user))


@pytest.fixture
def restricted_alone() -> Iterator[RestrictedRedis]:
    """A Redis of its own, without a worker."""
    with restricted_redis() as restricted:
        yield restricted


@pytest.fixture
def connect_alone(restricted_alone: RestrictedRedis) -> Iterator[Callable[[str], Client]]:
    with ExitStack() as stack:
        yield lambda user: stack.enter_context(restricted_alone.client(user))


def test_the_page_has_rules_for_the_four() -> None:
    assert set(rules()) == {PRODUCER, ROOMS, OPERATOR, SERVER, WORKER}


@pytest.mark.parametrize("user", [PRODUCER, ROOMS])
def test_a_producer_enqueues_and_reads_outcomes_and_redis_has_next_to_nothing_to_refuse(
    user: str, running: WorkerProcess, restricted: RestrictedRedis, connect: Callable[[str], Client]
) -> None:
    client = connect(user)
    for number in range(5):
        job = client.enqueue(stop(f"{user}-{number}"), account=ALIYUN)
        assert job.outcome(TIMEOUT).result is Result.STOPPED
        assert job.peek() is not None
    jobs = client.enqueue_many(
        [Command(operation=stop(f"{user}-m{n}"), account=ALIYUN, priority=n % 10) for n in range(12)]
    )
    assert {outcome.result for outcome in client.outcomes(jobs, TIMEOUT)} == {Result.STOPPED}
    # The producer's one denied command is the trim of wake tokens; the worker was denied nothing.
    assert restricted.denied() == [f"{user}: ltrim 1"]
    shown = run(restricted.url(user), "job", job.id)
    assert (shown.returncode, "ended: stopped" in shown.stdout) == (0, True)
    assert objects(run(restricted.url(user), "job", job.id, "--json").stdout)[0]["answers"] is None


@pytest.mark.parametrize("user", [PRODUCER, ROOMS])
def test_a_producer_tells_workers_of_its_jobs(
    user: str, restricted_alone: RestrictedRedis, connect_alone: Callable[[str], Client]
) -> None:
    client, admin = connect_alone(user), restricted_alone.admin
    for number in range(5):
        client.enqueue(stop(f"t-{number}"), account=ALIYUN)
    assert admin.llen(LANE.queue) == 5
    assert admin.smembers(ARRIVALS) == {LANE.name.encode()}
    assert admin.lrange(WAKE, 0, -1) == [b"1"] * 5
    assert restricted_alone.denied() == [f"{user}: ltrim 1"]


@pytest.mark.parametrize("user", [PRODUCER, ROOMS])
def test_a_big_batch_of_a_producer_that_may_not_spread_it_is_spread_by_a_worker(
    user: str, restricted_alone: RestrictedRedis, connect_alone: Callable[[str], Client]
) -> None:
    client, admin = connect_alone(user), restricted_alone.admin
    commands = [Command(operation=stop(f"t-{number}"), account=ALIYUN) for number in range(501)]
    for _ in range(2):
        client.enqueue_many(commands)
    assert admin.llen(BATCHES) == 2
    assert admin.llen(LANE.queue) == 0
    (denied,) = restricted_alone.denied()
    assert denied == (f"{PRODUCER}: evalsha 1" if user == PRODUCER else f"{ROOMS}: lrange 1")
    with restricted_alone.redis(WORKER) as redis:
        Batches(redis).finish()
    assert admin.llen(LANE.queue) == 1002
    assert admin.keys("streamstop.batch*") == []
    assert admin.exists(STAGED) == 0


def test_a_user_for_rooms_registers_and_stops_many_and_is_refused_nothing(
    restricted_alone: RestrictedRedis, connect_alone: Callable[[str], Client]
) -> None:
    client = connect_alone(ROOMS)
    commands = [Command(operation=stop(f"t-{number}"), account=ALIYUN) for number in range(1000)]
    assert client.register_many("acl", commands[:600]) is None
    assert client.unregister("acl", commands[0].operation, account=ALIYUN)
    assert len(client.room("acl").tasks) == 599
    shutdown = client.stop_room("acl", commands)
    assert client.register_many("acl", commands[:600]) == shutdown
    assert not client.reopen_room("acl")
    assert shutdown.progress().total == 1000
    assert shutdown.cancel()
    assert restricted_alone.denied() == []
    assert restricted_alone.admin.keys("streamstop.batch*") == []


@pytest.mark.parametrize("count", [1, 501])
def test_a_user_for_rooms_enqueues_with_idempotency_keys_and_a_producer_does_not(
    restricted_alone: RestrictedRedis, connect_alone: Callable[[str], Client], count: int
) -> None:
    client = connect_alone(ROOMS)
    commands = [Command(operation=stop(f"t{number}"), account=ALIYUN) for number in range(count)]
    jobs = [client.enqueue_many(commands, idempotency_key="k") for _ in range(2)]
    assert jobs[0] == jobs[1]
    # Workers move a batch into its lanes, where a producer may not.
    assert restricted_alone.denied() == ([] if count == 1 else [f"{ROOMS}: lrange 1"])
    with pytest.raises(QueueUnavailable, match="this Redis user may not do this"):
        connect_alone(PRODUCER).enqueue_many(commands, idempotency_key="k")


def test_a_user_for_rooms_enqueues_unique_commands_and_a_producer_does_not(
    restricted_alone: RestrictedRedis, connect_alone: Callable[[str], Client]
) -> None:
    client = connect_alone(ROOMS)
    jobs = [client.enqueue(stop("once"), account=ALIYUN, unique=True) for _ in range(2)]
    assert jobs[0] == jobs[1]
    assert restricted_alone.denied() == []
    with pytest.raises(QueueUnavailable, match="this Redis user may not do this"):
        connect_alone(PRODUCER).enqueue(stop("once"), account=ALIYUN, unique=True)
    assert restricted_alone.admin.llen(LANE.queue) == 1


def test_a_user_for_rooms_registers_stops_and_watches(
    running: WorkerProcess, simulator: SimulatorClient, restricted: RestrictedRedis, connect: Callable[[str], Client]
) -> None:
    client = connect(ROOMS)
    commands = [Command(operation=stop(f"room-{n}"), account=ALIYUN) for n in range(8)]
    assert client.register_many("acl", commands[:4]) is None
    assert client.unregister("acl", commands[3].operation, account=ALIYUN)
    assert len(client.room("acl").tasks) == 3
    shutdown = client.stop_room("acl", commands[4:], verify=True)
    ended = [progress for progress in shutdown.watch(60) if progress.status is not ShutdownStatus.OPEN]
    assert [(progress.status, dict(progress.results)) for progress in ended] == [
        (ShutdownStatus.DONE, {Result.VERIFIED: 7})
    ]
    assert len(list(shutdown.outcomes())) == 7
    simulator.start_tasks(ALIYUN, [commands[0].operation])
    assert client.register("acl", commands[0].operation, account=ALIYUN) == shutdown
    late = shutdown.wait(60)
    assert (late.status, late.total) == (ShutdownStatus.DONE, 8)
    assert client.reopen_room("acl")
    assert not shutdown.cancel()


def test_from_redis_7_on_a_user_for_rooms_may_be_kept_from_changing_records(
    restricted_alone: RestrictedRedis, simulator: SimulatorClient, tmp_path: Path
) -> None:
    admin: Any = restricted_alone.admin
    if int(admin.info("server")["redis_version"].partition(".")[0]) < 7:
        with pytest.raises(ResponseError, match="Syntax error"):
            admin.execute_command("ACL", "SETUSER", ROOMS, *rule_from_redis_7())
        return
    admin.execute_command("ACL", "SETUSER", ROOMS, *rule_from_redis_7())
    with restricted_alone.client(ROOMS) as client, restricted_alone.redis(ROOMS) as redis:
        commands = [Command(operation=stop(f"narrow-{n}"), account=ALIYUN) for n in range(40)]
        assert client.register_many("narrow", commands[:30]) is None
        shutdown = client.stop_room("narrow", commands[30:])
        with restricted_alone.client(OPERATOR) as operator:
            operator.pause(ALIYUN)  # so that the shutdown is still open when its lane has a pace
            with restricted_worker(restricted_alone, simulator, tmp_path):
                eventually(lambda: any(lane.pace for lane in shutdown.progress().lanes), "it reads the lane's pace")
                operator.resume(ALIYUN)
                assert shutdown.wait(TIMEOUT).results == {Result.STOPPED: 40}
        outcomes = list(shutdown.outcomes())
        assert len(outcomes) == 40
        record = result_key(outcomes[0].job_id)
        assert redis.get(record) is not None
        call: Any = redis.execute_command  # redis-py gives it no types
        for command in (["EXPIRE", record, "1"], ["HSET", record, "field", "1"], ["LPUSH", record, "1"]):
            with pytest.raises(NoPermissionError):
                call(*command)
        assert admin.ttl(record) > 1


def test_a_task_that_is_registered_again_while_its_stop_waits_leaves_nothing_half_done() -> None:
    task = stop("again")
    with restricted_redis() as restricted, restricted.client(ROOMS) as client:
        shutdown = client.stop_room("half", [Command(operation=task, account=ALIYUN)])
        todo = f"streamstop.shutdown.{shutdown.id}:todo"
        (member,) = restricted.admin.lrange(todo, 0, -1)
        restricted.admin.hset(f"streamstop.shutdown.{shutdown.id}:jobs", member, LANE.new_job_id())
        assert client.register("half", task, account=ALIYUN) == shutdown
        assert shutdown.progress().total == restricted.admin.llen(todo) == 2


def test_a_wrong_password_is_reported_and_not_shown(restricted: RestrictedRedis) -> None:
    with restricted.client(PRODUCER, "wr0ng") as client, pytest.raises(QueueUnavailable) as refused:
        client.enqueue(stop("t"), account=ALIYUN)
    assert "Redis refused the user name or the password" in str(refused.value)
    assert "wr0ng" not in "".join(traceback.format_exception(refused.value))


def test_a_list_where_a_record_would_be_holds_no_job_up(
    running: WorkerProcess, restricted: RestrictedRedis, connect: Callable[[str], Client]
) -> None:
    """In Redis 6.2 whoever may enqueue may push to whatever he may read."""
    client, command = connect(PRODUCER), Command(operation=stop("listed"), account=ALIYUN)
    job = client.job(LANE.new_job_id())
    with restricted.redis(PRODUCER) as redis:
        redis.lpush(result_key(job.id), "x")
        assert job.peek() is None
        redis.lpush(LANE.queue, celery_message(job.id, LANE, command.to_message(now=datetime.now(UTC))))
        assert job.outcome(TIMEOUT).result is Result.STOPPED


def test_a_list_where_the_accounts_would_be_is_taken_away_by_a_worker(real_redis: Redis) -> None:
    accounts = KnownAccounts(real_redis)
    real_redis.lpush(ACCOUNTS, "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        accounts.publish({"acc": "aliyun"})
    accounts.publish({"acc": "aliyun"})
    assert accounts.vendors() == {"acc": "aliyun"}
