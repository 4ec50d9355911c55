"""After the faults: wait until every job has ended, probe every worker, and gather the evidence."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from streamstop import Client, Command, QueueUnavailable
from streamstop._core.constants import (
    ACCOUNTS,
    ARRIVALS,
    BATCH,
    BATCHES,
    EVENTS,
    LANES,
    LEASED,
    READY,
    SCHEDULE,
    STAGED,
    WAKE,
    WORKERS,
)
from streamstop._core.lane import Lane
from streamstop._redis.rooms import CALLBACKS, CONTROL
from tests.support.redis_content import everything_in
from tests.torture.clock import SHIFT_KEY
from tests.torture.evidence import Evidence, Recorder, open_shutdowns, shutdowns
from tests.torture.load import ACCOUNTS as OF_LOAD
from tests.torture.load import SINGLES, lanes, limits, starts
from tests.torture.producer import Accepted, Producer
from tests.torture.stage import Stage

#: A lane rests, a job backs off, and a held account waits for its next call, each for at most a minute. A job may meet
#: all of them, after a lease has run out.
SETTLES_WITHIN_S = 240.0
#: How much longer a deferred job may wait if the clock was set back, as the documentation says.
LONGEST_AFTER_SETTING_BACK_S = 600.0
_PROBED_WITHIN_S = 120.0
_EMPTY_WITHIN_S = 60.0
#: The moment of the last sweep.
_SWEPT = "streamstop.work.swept"
#: When the sweep first saw each batch that is staged.
_STAGED_AT = "streamstop.work.staged"


@dataclass(frozen=True)
class Settled:
    """When everything had ended. Moments are seconds since the epoch."""

    last_outcome: float
    #: What had no outcome at the timeout.
    open: int


def settle(producer: Producer, recorder: Recorder, redis: Redis, within: float = SETTLES_WITHIN_S) -> Settled:
    """Wait until every accepted command has an outcome, every shutdown is over, and no lane holds a job."""
    deadline = time.monotonic() + within
    while True:
        left = sum(job not in recorder.seen for job in producer.accepted) + open_shutdowns(redis)
        if (not left and not any(_held(redis))) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    moments = [seen[0].at for seen in list(recorder.seen.values())]
    return Settled(max(moments, default=time.time()), left)


def probe(stage: Stage, client: Client, producer: Producer) -> list[str]:
    """Send probes through every lane until every worker has made a call; return the problems."""
    problems: list[str] = []
    deadline = time.monotonic() + _PROBED_WITHIN_S
    since, turn = time.time(), 0
    while True:
        commands = [
            Command(operation=make(f"probe-{turn}-{n}"), account=account) for n in range(3) for account, make in SINGLES
        ]
        for account, operations in starts(commands).items():
            stage.simulator.start_tasks(account, operations)
        try:
            jobs = client.enqueue_many(commands)
        except QueueUnavailable as error:
            return [f"no probe was accepted: {error}"]
        for job, command in zip(jobs, commands, strict=True):
            producer.accepted[job.id] = Accepted(command, time.time())
        outcomes = {outcome.job_id: outcome for outcome in client.outcomes(jobs, timeout=60)}
        problems += [f"a probe has no outcome: {job.id}" for job in jobs if job.id not in outcomes]
        problems += [f"a probe ended {one.result}: {one.job_id}" for one in outcomes.values() if not one.ok]
        silent = [
            worker.life.name
            for worker in stage.fleet.workers
            if not any(note["what"] == "calls" and note["at"] > since for note in worker.life.read_notes())
        ]
        if problems or not silent:
            return problems
        if time.monotonic() > deadline:
            return [f"{name} does not serve" for name in silent]
        turn += 1


def await_empty(redis: Redis) -> list[str]:
    """Wait until no lane holds anything; return what is left at the timeout."""
    deadline = time.monotonic() + _EMPTY_WITHIN_S
    while True:
        left = [*_held(redis)]
        if not left:
            return [*_endless(redis)]
        if time.monotonic() > deadline:
            return [*left, *_endless(redis)]
        time.sleep(0.25)


def _held(redis: Any) -> Iterator[str]:
    """Yield what lanes still hold (leases, jobs, deferred and waiting jobs), and what workers would still look at.

    An empty lane leaves the schedule when a worker next looks at it. It leaves the leased lanes at the sweep after its
    last lease.
    """
    twins = [Lane(account.name, operation) for account in OF_LOAD for operation in limits()]
    for lane in {*lanes(), *twins, CONTROL, CALLBACKS}:
        own = [key for key in lane.keys if lane.name in key and not key.endswith(":pace")]
        yield from (f"{key} is left" for key in own if redis.exists(key))
    for key in (SCHEDULE, LEASED):
        yield from (f"{key} has {name.decode()}" for name in redis.zrange(key, 0, -1))
    yield from (f"{ARRIVALS} has {name.decode()}" for name in redis.smembers(ARRIVALS))
    yield from (f"{BATCHES} has {batch.decode()}" for batch in redis.lrange(BATCHES, 0, -1))
    yield from (f"{key} is left" for key in (READY, LANES) if redis.exists(key))


def _endless(redis: Any) -> Iterator[str]:
    """Yield keys that would never expire."""
    # The sweep discards batches that were never accepted after some minutes. This key lists them.
    staged = [batch.decode() for batch in redis.smembers(STAGED)]
    allowed = {
        ACCOUNTS,
        EVENTS,
        WORKERS,
        WAKE,
        SHIFT_KEY,
        _SWEPT,
        STAGED,
        _STAGED_AT,
        *(f"{BATCH}{batch}" for batch in staged),
    }
    for key in redis.scan_iter("*", count=1000):
        name = key.decode()
        if redis.ttl(key) == -1 and name not in allowed and not name.startswith(("_kombu.", "streamstop.dead")):
            yield f"{name} has no time to live"
    if redis.llen(WAKE) > 1:
        yield f"{WAKE} holds {redis.llen(WAKE)} tokens"
    forgotten = {batch.decode() for batch in redis.hkeys(_STAGED_AT)} - set(staged)
    yield from (f"{_STAGED_AT} has {batch}, which is not staged" for batch in sorted(forgotten))


def leaks(stage: Stage, redis: Redis) -> list[str]:
    """Return where a secret of the accounts is found."""
    places = {life.log.name: life.log.read_bytes() for life in stage.fleet.lives}
    places["Redis"] = everything_in(redis)
    secrets = [text for account in OF_LOAD for text in (account.access_key_secret, account.security_token) if text]
    return [
        f"a secret is in {place}" for place, content in places.items() for one in secrets if one.encode() in content
    ]


def tracebacks(stage: Stage) -> list[str]:
    """Return the logs that hold a traceback. Workers log one only for their own bugs."""
    return [f"a traceback is in {life.log.name}" for life in stage.fleet.lives if b"Traceback" in life.log.read_bytes()]


def gather(
    stage: Stage, client: Client, producer: Producer, recorder: Recorder, redis: Redis, *, left: Sequence[str]
) -> Evidence:
    """Gather the evidence of a run."""
    recorded = recorder.look(redis)
    return Evidence(
        accepted=producer.accepted,
        uncertain=producer.uncertain,
        unjoined=producer.unjoined,
        letters=[letter.id for letter in client.dead_letters.letters()],
        shut_down=producer.shut_down,
        seen=recorder.seen,
        held=recorded,
        shutdowns=shutdowns(redis),
        calls=stage.simulator.calls(),
        tasks=stage.simulator.tasks(),
        notes=[note for life in stage.fleet.lives for note in life.read_notes()],
        faults=stage.chronicle.faults,
        limit_changes=stage.people.limit_changes,
        left=left,
        leaks=leaks(stage, redis),
        alarms=[*stage.chronicle.alarms, *producer.problems, *tracebacks(stage)],
    )
