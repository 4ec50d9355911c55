"""The schedule of faults: a seed determines kind, moment, target and duration before the run begins."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

#: Where a worker can be told to kill itself; see :mod:`tests.torture.worker`.
POINTS = (
    "before-take",
    "after-take",
    "before-call",
    "after-answer",
    "before-report",
    "after-report",
    "before-retry",
    "before-push",
    "after-push",
    "before-spread",
    "after-spread",
    "before-sweep",
    "after-sweep",
)
#: Only a run of at least so many seconds has the long outages.
LONG_RUN_S = 180
#: How long a stopped worker stands still: longer than the lease of its jobs.
STANDSTILL_S = 10.0


class Kind(StrEnum):
    """What can go wrong."""

    KILL = "kill"
    """SIGKILL a worker, at any moment."""
    KILL_AT = "kill_at"
    """SIGKILL the worker that first reaches a kill point."""
    TERM = "term"
    """SIGTERM a worker."""
    STOP = "stop"
    """SIGSTOP a worker, and SIGCONT it after `seconds`."""
    REDIS = "redis"
    """Kill Redis, and start it again after `seconds`."""
    CUT_REDIS = "cut_redis"
    """Reset a worker's connections to Redis."""
    HALF_OPEN_REDIS = "half_open_redis"
    """Drop all data between a worker and Redis for `seconds`, then reset its connections."""
    SLOW_REDIS = "slow_redis"
    """Delay all data between a worker and Redis by `amount` seconds, for `seconds`."""
    CUT_VENDOR = "cut_vendor"
    """Reset a worker's connections to the vendors."""
    HALF_OPEN_VENDOR = "half_open_vendor"
    """Drop all data between a worker and the vendors for `seconds`, then reset its connections."""
    OUTAGE = "outage"
    """Every call of an account fails, in the way that `how` says, for `seconds`."""
    THROTTLE = "throttle"
    """The share `amount` of an account's calls is throttled, for `seconds`."""
    PAUSE = "pause"
    """Somebody pauses a scope, as `how` says, and resumes it after `seconds`."""
    LIMIT = "limit"
    """Somebody sets the limit of the lane `how` to `amount` calls per second, and clears it after `seconds`."""
    KEY = "key"
    """The vendor refuses an account's key for `seconds`. `how` names the account, and what ends a hold of it."""
    WRONG = "wrong"
    """The share `amount` of all calls gets a wrong answer, of the kind `how`, for `seconds`."""
    PRODUCER = "producer"
    """Reset the producers' connections to Redis, or drop or delay their data, as `how` says, for `seconds`."""
    CLOCK = "clock"
    """Redis' clock jumps by `amount` seconds, and stays."""
    CLOCK_BACK = "clock_back"
    """Redis' clock jumps back by `amount` seconds, and stays."""


#: The kinds of faults that a run has by default.
ALL = frozenset(Kind)
#: The relative frequency of a kind, after its first fault.
_WEIGHTS = {Kind.KILL: 4, Kind.KILL_AT: 6, Kind.REDIS: 2, Kind.WRONG: 3, Kind.OUTAGE: 2, Kind.LIMIT: 2}
_OUTAGES = ("503", "reset", "hang")
_WRONG = ("500", "html", "half_body", "reset", "500 after", "half_body after", "reset after")
_TO_PRODUCERS = ("cut", "half_open", "slow")
#: Limits that people set. The vendor's own is 30; one that is higher is raised at the vendor too.
_LIMITS = (2.0, 5.0, 12.0, 20.0, 60.0)
#: What ends the hold of an account whose key is back: a call that workers make once a minute, or a person.
BY_CALLING, BY_RESUMING = "called", "resumed"
_JUMPS_S = (1, 5, 20, 60, 600, 3600)


@dataclass(frozen=True)
class Fault:
    """One fault. Times are in seconds from the begin of the run."""

    at: float
    kind: Kind
    #: The worker that it hits, counted from 0; for kinds that hit one worker.
    worker: int = 0
    seconds: float = 0.0
    how: str = ""
    amount: float = 0.0

    def __str__(self) -> str:
        words: list[str] = [self.kind.value]
        if self.kind in _OF_A_WORKER:
            words.append(f"worker {self.worker}")
        if self.how:
            words.append(self.how)
        if self.amount:
            words.append(f"{self.amount:g}")
        if self.seconds:
            words.append(f"for {self.seconds:g} s")
        return " ".join(words)


_OF_A_WORKER = {
    Kind.KILL,
    Kind.TERM,
    Kind.STOP,
    Kind.CUT_REDIS,
    Kind.HALF_OPEN_REDIS,
    Kind.SLOW_REDIS,
    Kind.CUT_VENDOR,
    Kind.HALF_OPEN_VENDOR,
}


def faults(
    seed: int,
    seconds: float,
    *,
    workers: int,
    accounts: Sequence[str],
    lanes: Sequence[str],
    kinds: Collection[Kind] = ALL,
    openings: Sequence[float] = (),
    left_batches: Sequence[float] = (),
    every_s: float = 2.0,
) -> list[Fault]:
    """Return the faults of a run, in the order of time. Each kind comes once before kinds are drawn at random.

    `openings` are the moments at which rooms are shut down. Kill points in the fan-out are armed just before them.
    `left_batches` are the moments at which producers leave a batch to workers. Kill points in moving a batch are armed
    just before them.
    """
    chance = random.Random(f"faults {seed}")
    wanted = sorted(kinds)
    if not wanted:
        return []
    chance.shuffle(wanted)
    number = max(len(wanted), round(seconds / every_s))
    weights = [_WEIGHTS.get(kind, 1) for kind in wanted]
    drawn = wanted + chance.choices(wanted, weights, k=number - len(wanted))
    points = _endlessly_shuffled(chance, number)
    long = seconds >= LONG_RUN_S
    planned = []
    for kind in drawn:
        at = round(chance.uniform(0.5, seconds), 2)
        point = points.pop()
        moments = {"push": openings, "spread": left_batches}.get(point.rpartition("-")[2])
        if kind is Kind.KILL_AT and moments:
            at = round(max(0.0, chance.choice(moments) - 0.05), 2)
        planned.append(_fault(chance, at, kind, point, workers=workers, accounts=accounts, lanes=lanes, long=long))
    return sorted(planned, key=lambda fault: (fault.at, fault.kind))


def clock_errors(seed: int, worker: int, life: int) -> float:
    """Return by how many seconds the wall clock of a worker's process is wrong; `life` counts its processes."""
    chance = random.Random(f"clock {seed} {worker} {life}")
    return chance.choice((0.0, 0.0, 0.0, 3.0, -7.0, 45.0, -120.0, 240.0))


def _fault(  # noqa: PLR0911  # a return a kind
    chance: random.Random,
    at: float,
    kind: Kind,
    point: str,
    *,
    workers: int,
    accounts: Sequence[str],
    lanes: Sequence[str],
    long: bool,
) -> Fault:
    worker = chance.randrange(workers)
    brief = round(chance.uniform(0.5, 4.0), 1)
    match kind:
        case Kind.KILL | Kind.TERM | Kind.CUT_REDIS | Kind.CUT_VENDOR:
            return Fault(at, kind, worker)
        case Kind.KILL_AT:
            return Fault(at, kind, how=point)
        case Kind.STOP:
            return Fault(at, kind, worker, STANDSTILL_S)
        case Kind.REDIS:
            return Fault(at, kind, seconds=round(chance.uniform(0.0, 3.0), 1))
        case Kind.HALF_OPEN_REDIS | Kind.HALF_OPEN_VENDOR:
            return Fault(at, kind, worker, brief)
        case Kind.SLOW_REDIS:
            return Fault(at, kind, worker, brief, amount=round(chance.uniform(0.05, 0.2), 3))
        case Kind.OUTAGE:
            length = chance.choice((5.0, 20.0, 60.0)) if long else brief
            return Fault(at, kind, seconds=length, how=f"{chance.choice(accounts)} {chance.choice(_OUTAGES)}")
        case Kind.THROTTLE:
            return Fault(at, kind, seconds=brief, how=chance.choice(accounts), amount=0.5)
        case Kind.PAUSE:
            return Fault(at, kind, seconds=brief + 1.5, how=chance.choice(("all", *accounts)))
        case Kind.LIMIT:
            return Fault(at, kind, seconds=brief + 2.0, how=chance.choice(lanes), amount=chance.choice(_LIMITS))
        case Kind.KEY:
            how = f"{chance.choice(accounts)} {chance.choice((BY_CALLING, BY_RESUMING))}"
            return Fault(at, kind, seconds=brief, how=how)
        case Kind.WRONG:
            return Fault(at, kind, seconds=brief, how=chance.choice(_WRONG), amount=round(chance.uniform(0.05, 0.3), 2))
        case Kind.PRODUCER:
            how = chance.choice(_TO_PRODUCERS)
            slow = round(chance.uniform(0.05, 0.2), 3)
            return Fault(at, kind, 0, 0.0 if how == "cut" else brief, how, slow if how == "slow" else 0.0)
        case Kind.CLOCK | Kind.CLOCK_BACK:
            return Fault(at, kind, amount=float(chance.choice(_JUMPS_S)))


def _endlessly_shuffled(chance: random.Random, number: int) -> list[str]:
    """Return at least `number` points. Each occurs equally often."""
    drawn: list[str] = []
    while len(drawn) < number:
        drawn += chance.sample(POINTS, len(POINTS))
    return drawn
