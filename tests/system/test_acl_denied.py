"""Redis' access rules as the documentation has them: commands that each user is denied."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from streamstop import Client, QueueUnavailable
from streamstop._core.answers import answers_key
from streamstop._core.constants import ACCOUNTS, ARRIVALS, BATCH, DEAD, LEASED, READY, SCHEDULE
from streamstop._core.lane import result_key
from tests.support.access_rules import LANE, PRODUCER, ROOMS, WORKER, RestrictedRedis, restricted_redis, stop
from tests.support.redis_content import everything_in
from tests.support.world import ALIYUN

LEASES, JOBS, DUE, PACE = (f"streamstop.work.{LANE.name}:{part}" for part in ("leases", "jobs", "due", "pace"))
JOB_ID = f"{LANE.name}.{32 * '0'}"
RECORD, ANSWERED = result_key(JOB_ID), answers_key(JOB_ID)
STAGED_LIST = f"{BATCH}id"
HELD = {
    "zset": (LEASES, DUE, DEAD, SCHEDULE, LEASED),
    "hash": (JOBS, PACE, f"{DEAD}.id"),
    "list": (READY,),
    "string": (RECORD, ANSWERED),
}
WRITES = [
    *(f"{command} {key}" for key in HELD["zset"] for command in ("ZADD 1 member", "ZREM member", "ZPOPMIN")),
    *(f"{command} {key}" for key in (JOBS, PACE, f"{DEAD}.id") for command in ("HSET field 2", "HDEL field")),
    *(f"{command} {READY}" for command in ("LPUSH x", "RPUSH x", "RPOP", "LREM 0 x", "LTRIM 1 0")),
    *(f"{command} {RECORD}" for command in ("SET x", "SETEX 9 x", "APPEND x", "GETSET x", "SETRANGE 0 x")),
    f"SET x {ANSWERED}",
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
    f"GET {ANSWERED}",
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
def filled_redis() -> Iterator[RestrictedRedis]:
    """A Redis in which there is something of everything, and no worker."""
    with restricted_redis() as restricted:
        for key in HELD["zset"]:
            restricted.admin.zadd(key, {"member": 1})
        for key in HELD["hash"]:
            restricted.admin.hset(key, "field", "1")
        restricted.admin.lpush(READY, "x")
        restricted.admin.lpush(LANE.queue, "x")
        restricted.admin.lpush(STAGED_LIST, "x")
        restricted.admin.sadd(ARRIVALS, "name")
        for key in HELD["string"]:
            restricted.admin.set(key, "x")
        yield restricted


@pytest.mark.parametrize("user", [PRODUCER, ROOMS])
@pytest.mark.parametrize("text", [*WRITES, *READS, *OTHERS])
def test_a_producer_may_not(text: str, user: str, filled_redis: RestrictedRedis) -> None:
    before = everything_in(filled_redis.admin)
    with filled_redis.redis(user) as redis:
        call: Any = redis.execute_command
        with pytest.raises(NoPermissionError):
            call(*words(text))
    assert everything_in(filled_redis.admin) == before


@pytest.mark.parametrize("text", WRITES)
def test_a_user_for_rooms_may_not_within_a_script(text: str, filled_redis: RestrictedRedis) -> None:
    before = everything_in(filled_redis.admin)
    with filled_redis.redis(ROOMS) as redis:
        script: Any = redis.register_script("return redis.call(unpack(ARGV))")
        with pytest.raises(ResponseError, match=r"The user executing the script can't|ACL failure in script"):
            script(args=words(text))
    assert everything_in(filled_redis.admin) == before


@pytest.mark.parametrize(
    "text", ["FLUSHALL", "KEYS *", "CONFIG SET maxmemory 1", "SHUTDOWN", "ACL LIST", "SET other x"]
)
def test_a_worker_may_not(text: str, filled_redis: RestrictedRedis) -> None:
    with filled_redis.redis(WORKER) as redis:
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
def test_a_denied_call_is_an_error_that_says_so_and_changes_nothing(
    user: str, call: str, filled_redis: RestrictedRedis
) -> None:
    before = everything_in(filled_redis.admin)
    message = r"this Redis user may not do this \(NOPERM at 127\.0\.0\.1:\d+, database 0\): nothing was changed"
    with filled_redis.client(user) as client, pytest.raises(QueueUnavailable, match=message):
        (CALLS | ROOM_CALLS)[call](client)
    assert everything_in(filled_redis.admin) == before
