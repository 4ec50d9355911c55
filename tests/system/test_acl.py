"""Redis' access rules as the documentation has them: what each user needs it may, and what is another's it may not."""

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from streamstop import Client, Command, QueueUnavailable, Result
from streamstop._core.constants import ACCOUNTS, ARRIVALS, BATCH, BATCHES, DEAD, LEASED, READY, SCHEDULE, STAGED, WAKE
from streamstop._core.lane import Lane, result_key
from streamstop._core.progress import ShutdownStatus
from streamstop._redis.accounts import KnownAccounts
from streamstop._redis.batches import Batches
from streamstop._wire.messages import celery_message
from streamstop.operations import StopMPUTask
from streamstop_simulator import SimulatorClient, run_in_thread
from streamstop_simulator.demo.embedded_redis import RedisServer, redis_server
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.redis_content import everything_in
from tests.support.workers import WorkerProcess, accounts_toml, worker
from tests.support.world import ALIYUN

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "redis.md"
PASSWORD = "s3cret-of-redis"
PRODUCER, ROOMS, WORKER = "streamstop-producer", "streamstop-rooms", "streamstop-worker"
LANE = Lane(ALIYUN, "live.StopMPUTask")
TIMEOUT = 30


def stop(task_id: str) -> StopMPUTask:
    return StopMPUTask(app_id="a", task_id=task_id)


def rules() -> dict[str, list[str]]:
    """Return the page's rules by user."""
    lines = re.findall(r"^user (\S+) (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return {user: rule.replace("<password>", PASSWORD).split() for user, rule in lines}


def narrowed() -> list[str]:
    """Return the rule for rooms as the page narrows it from Redis 7 on."""
    found = re.search(r"From Redis 7 on, `(\S+)` in place of\s+`(\S+)`[^`]*`([^`]+)`", PAGE.read_text())
    assert found is not None
    records, instead_of, work = found.groups()
    rule = rules()[ROOMS]
    return [*(records if word == instead_of else word for word in rule), *work.split()]


@dataclass(frozen=True)
class Guarded:
    """A Redis with the page's users; the default user is off."""

    server: RedisServer
    admin: Redis

    def url(self, user: str, password: str = PASSWORD) -> str:
        return f"redis://{user}:{password}@127.0.0.1:{self.server.port}/0"

    def redis(self, user: str) -> Redis:
        return Redis(port=self.server.port, username=user, password=PASSWORD)

    def denied(self) -> list[str]:
        """What Redis has refused, as ``user: object``."""
        entries: Any = self.admin.acl_log()
        return [f"{entry['username']}: {entry['object']} {entry['count']}" for entry in entries]


@contextmanager
def guarded_redis() -> Iterator[Guarded]:
    with redis_server() as server, server.client() as first:
        acl: Any = first.execute_command  # redis-py gives it no types
        acl("ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all")
        for user, rule in rules().items():
            acl("ACL", "SETUSER", user, *rule)
        acl("ACL", "SETUSER", "default", "off")
        with Redis(port=server.port, username="admin", password="admin") as admin:
            yield Guarded(server, admin)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    with guarded_redis() as guarded:
        yield guarded


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorClient]:
    with run_in_thread() as simulator:
        simulator.settings(auto_start=True)
        yield simulator


@pytest.fixture(scope="module")
def running(
    guarded: Guarded, simulator: SimulatorClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerProcess]:
    """A worker under the page's rules."""
    folder = tmp_path_factory.mktemp("acl")
    (folder / "accounts.toml").write_text(accounts_toml(DEFAULT_ACCOUNTS, simulator.url))
    (folder / "accounts.toml").chmod(0o600)
    with worker(guarded.url(WORKER), folder / "accounts.toml", "-E", folder=folder) as process:
        yield process


@pytest.fixture
def connect(guarded: Guarded) -> Iterator[Callable[[str], Client]]:
    """Return clients by their Redis user."""
    guarded.admin.acl_log_reset()
    with ExitStack() as stack:
        yield lambda user: stack.enter_context(Client(guarded.url(user)))


@pytest.fixture
def guarded_alone() -> Iterator[Guarded]:
    """A Redis of its own, without a worker."""
    with guarded_redis() as guarded:
        yield guarded


@pytest.fixture
def connect_alone(guarded_alone: Guarded) -> Iterator[Callable[[str], Client]]:
    with ExitStack() as stack:
        yield lambda user: stack.enter_context(Client(guarded_alone.url(user)))


def test_the_page_has_rules_for_the_three() -> None:
    assert set(rules()) == {PRODUCER, ROOMS, WORKER}


@pytest.mark.parametrize("user", [PRODUCER, ROOMS])
def test_a_producer_enqueues_and_reads_outcomes_and_redis_has_next_to_nothing_to_refuse(
    user: str, running: WorkerProcess, guarded: Guarded, connect: Callable[[str], Client]
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
    # A wake is not cut to one token, and that was tried once; and it was not the worker that was refused anything.
    assert guarded.denied() == [f"{user}: ltrim 1"]


@pytest.mark.parametrize("user", [PRODUCER, ROOMS])
def test_a_producer_tells_workers_of_its_jobs(
    user: str, guarded_alone: Guarded, connect_alone: Callable[[str], Client]
) -> None:
    client, admin = connect_alone(user), guarded_alone.admin
    for number in range(5):
        client.enqueue(stop(f"t-{number}"), account=ALIYUN)
    assert admin.llen(LANE.queue) == 5
    assert admin.smembers(ARRIVALS) == {LANE.name.encode()}
    assert admin.lrange(WAKE, 0, -1) == [b"1"] * 5
    assert guarded_alone.denied() == [f"{user}: ltrim 1"]


@pytest.mark.parametrize("user", [PRODUCER, ROOMS])
def test_a_big_batch_of_a_producer_that_may_not_spread_it_is_spread_by_a_worker(
    user: str, guarded_alone: Guarded, connect_alone: Callable[[str], Client]
) -> None:
    client, admin = connect_alone(user), guarded_alone.admin
    commands = [Command(operation=stop(f"t-{number}"), account=ALIYUN) for number in range(501)]
    for _ in range(2):
        client.enqueue_many(commands)
    assert admin.llen(BATCHES) == 2
    assert admin.llen(LANE.queue) == 0
    (denied,) = guarded_alone.denied()
    assert denied == (f"{PRODUCER}: evalsha 1" if user == PRODUCER else f"{ROOMS}: lrange 1")
    with guarded_alone.redis(WORKER) as redis:
        Batches(redis).finish()
    assert admin.llen(LANE.queue) == 1002
    assert admin.keys("streamstop.batch*") == []
    assert admin.exists(STAGED) == 0


def test_a_user_for_rooms_registers_and_stops_many_and_is_refused_nothing(
    guarded_alone: Guarded, connect_alone: Callable[[str], Client]
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
    assert guarded_alone.denied() == []
    assert guarded_alone.admin.keys("streamstop.batch*") == []


def test_a_user_for_rooms_registers_stops_and_watches(
    running: WorkerProcess, simulator: SimulatorClient, guarded: Guarded, connect: Callable[[str], Client]
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
    guarded_alone: Guarded, simulator: SimulatorClient, tmp_path: Path
) -> None:
    admin: Any = guarded_alone.admin
    if int(admin.info("server")["redis_version"].partition(".")[0]) < 7:
        with pytest.raises(ResponseError, match="Syntax error"):
            admin.execute_command("ACL", "SETUSER", ROOMS, *narrowed())
        return
    admin.execute_command("ACL", "SETUSER", ROOMS, *narrowed())
    with Client(guarded_alone.url(ROOMS)) as client, guarded_alone.redis(ROOMS) as redis:
        commands = [Command(operation=stop(f"narrow-{n}"), account=ALIYUN) for n in range(40)]
        assert client.register_many("narrow", commands[:30]) is None
        shutdown = client.stop_room("narrow", commands[30:])
        (tmp_path / "accounts.toml").write_text(accounts_toml(DEFAULT_ACCOUNTS, simulator.url))
        with worker(guarded_alone.url(WORKER), tmp_path / "accounts.toml", folder=tmp_path):
            seen = list(shutdown.watch(TIMEOUT))
        assert seen[-1].results == {Result.STOPPED: 40}
        assert any(lane.pace for progress in seen for lane in progress.lanes), "it reads the lane's pace"
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
    with guarded_redis() as guarded, Client(guarded.url(ROOMS)) as client:
        shutdown = client.stop_room("half", [Command(operation=task, account=ALIYUN)])
        todo = f"streamstop.shutdown.{shutdown.id}:todo"
        (member,) = guarded.admin.lrange(todo, 0, -1)
        guarded.admin.hset(f"streamstop.shutdown.{shutdown.id}:jobs", member, LANE.new_job_id())
        assert client.register("half", task, account=ALIYUN) == shutdown
        assert shutdown.progress().total == guarded.admin.llen(todo) == 2


LEASES, JOBS, DUE, PACE = (f"streamstop.work.{LANE.name}:{part}" for part in ("leases", "jobs", "due", "pace"))
RECORD = result_key(f"{LANE.name}.{32 * '0'}")
STAGED_LIST = f"{BATCH}id"
HELD = {
    "zset": (LEASES, DUE, DEAD, SCHEDULE, LEASED),
    "hash": (JOBS, PACE, f"{DEAD}.id"),
    "list": (READY,),
    "string": (RECORD,),
}
WRITES = [
    *(f"{command} {key}" for key in HELD["zset"] for command in ("ZADD 1 member", "ZREM member", "ZPOPMIN")),
    *(f"{command} {key}" for key in (JOBS, PACE, f"{DEAD}.id") for command in ("HSET field 2", "HDEL field")),
    *(f"{command} {READY}" for command in ("LPUSH x", "RPUSH x", "RPOP", "LREM 0 x", "LTRIM 1 0")),
    *(f"{command} {RECORD}" for command in ("SET x", "SETEX 9 x", "APPEND x", "GETSET x", "SETRANGE 0 x")),
    *(f"{command} {key}" for keys in HELD.values() for key in keys for command in ("DEL", "UNLINK", "RENAME other")),
    *(f"ZADD 1 name {ACCOUNTS}", f"ZREM name {ACCOUNTS}"),
    *(
        f"{command} {key}"
        for key in (LANE.queue, STAGED_LIST)
        for command in ("DEL", "RPOP", "LTRIM 1 0", "RENAME other")
    ),
    *(f"{command} {ARRIVALS}" for command in ("SREM name", "SPOP", "DEL")),
]
READS = [
    f"ZRANGE 0 -1 {DEAD}",
    f"HGETALL {DEAD}.id",
    f"HGETALL {JOBS}",
    f"LRANGE 0 -1 {READY}",
    f"LRANGE 0 -1 {LANE.queue}",
    f"LRANGE 0 -1 {STAGED_LIST}",
]
OTHERS = [
    *("FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "CONFIG GET *", "CONFIG SET maxmemory 1", "EVAL return 0", "SAVE"),
    *("SCRIPT FLUSH", "SCRIPT KILL", "CLIENT LIST", "CLIENT KILL x", "ACL LIST", "ACL WHOAMI", "INFO", "MONITOR"),
    *("SHUTDOWN", "CLIENT PAUSE 1", "REPLICAOF NO ONE", "SWAPDB 0 1", "PUBLISH other x", "PSUBSCRIBE *", "SLOWLOG GET"),
]


def words(text: str) -> list[str]:
    """Return a command's words: in the lists above a key stands last, where it is easily read."""
    name, *rest = text.split(" ")
    return [name, *rest[-1:], *rest[:-1]] if text in {*WRITES, *READS} else [name, *rest]


@pytest.fixture(scope="module")
def held() -> Iterator[Guarded]:
    """A Redis in which there is something of everything, and no worker."""
    with guarded_redis() as guarded:
        for key in HELD["zset"]:
            guarded.admin.zadd(key, {"member": 1})
        for key in HELD["hash"]:
            guarded.admin.hset(key, "field", "1")
        guarded.admin.lpush(READY, "x")
        guarded.admin.lpush(LANE.queue, "x")
        guarded.admin.lpush(STAGED_LIST, "x")
        guarded.admin.sadd(ARRIVALS, "name")
        guarded.admin.set(RECORD, "x")
        yield guarded


@pytest.mark.parametrize("user", [PRODUCER, ROOMS])
@pytest.mark.parametrize("text", [*WRITES, *READS, *OTHERS])
def test_a_producer_may_not(text: str, user: str, held: Guarded) -> None:
    before = everything_in(held.admin)
    with held.redis(user) as redis:
        call: Any = redis.execute_command
        with pytest.raises(NoPermissionError):
            call(*words(text))
    assert everything_in(held.admin) == before


@pytest.mark.parametrize("text", WRITES)
def test_nor_may_a_user_for_rooms_within_a_script(text: str, held: Guarded) -> None:
    before = everything_in(held.admin)
    with held.redis(ROOMS) as redis:
        script: Any = redis.register_script("return redis.call(unpack(ARGV))")
        with pytest.raises(ResponseError, match=r"The user executing the script can't|ACL failure in script"):
            script(args=words(text))
    assert everything_in(held.admin) == before


@pytest.mark.parametrize(
    "text", ["FLUSHALL", "KEYS *", "CONFIG SET maxmemory 1", "SHUTDOWN", "ACL LIST", "SET other x"]
)
def test_nor_may_a_worker(text: str, held: Guarded) -> None:
    with held.redis(WORKER) as redis:
        call: Any = redis.execute_command
        with pytest.raises(NoPermissionError):
            call(*text.split(" "))


CALLS: dict[str, Callable[[Client], object]] = {
    "cancel": lambda client: client.job(LANE.new_job_id()).cancel(),
    "dead letters": lambda client: list(client.dead_letters.letters()),
    "requeue": lambda client: client.dead_letters.requeue("id"),
    "drop": lambda client: client.dead_letters.drop("id"),
}
ROOM_CALLS: dict[str, Callable[[Client], object]] = {
    "register": lambda client: client.register("room", stop("t"), account=ALIYUN),
    "unregister": lambda client: client.unregister("room", stop("t"), account=ALIYUN),
    "stop_room": lambda client: client.stop_room("room"),
    "room": lambda client: client.room("room"),
    "reopen_room": lambda client: client.reopen_room("room"),
    "progress": lambda client: client.shutdown("id").progress(),
    "outcomes": lambda client: list(client.shutdown("id").outcomes()),
}
CASES = [(user, call) for user in (PRODUCER, ROOMS) for call in CALLS] + [(PRODUCER, call) for call in ROOM_CALLS]


@pytest.mark.parametrize(("user", "call"), CASES)
def test_what_a_user_may_not_do_is_an_error_that_says_so_and_nothing_is_done(
    user: str, call: str, held: Guarded
) -> None:
    before = everything_in(held.admin)
    said = r"this Redis user may not do this \(NOPERM\): nothing was changed"
    with Client(held.url(user)) as client, pytest.raises(QueueUnavailable, match=said):
        (CALLS | ROOM_CALLS)[call](client)
    assert everything_in(held.admin) == before


def test_a_wrong_password_is_said_to_be_one_and_is_not_shown(guarded: Guarded) -> None:
    with Client(guarded.url(PRODUCER, "wr0ng")) as client, pytest.raises(QueueUnavailable) as refused:
        client.enqueue(stop("t"), account=ALIYUN)
    assert "Redis refused the user name or the password" in str(refused.value)
    assert "wr0ng" not in "".join(traceback.format_exception(refused.value))


def test_a_list_where_a_record_would_be_holds_no_job_up(
    running: WorkerProcess, guarded: Guarded, connect: Callable[[str], Client]
) -> None:
    """In Redis 6.2 whoever may enqueue may push to whatever he may read."""
    client, command = connect(PRODUCER), Command(operation=stop("listed"), account=ALIYUN)
    job = client.job(LANE.new_job_id())
    with guarded.redis(PRODUCER) as redis:
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
