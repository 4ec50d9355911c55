"""Checks of Redis beyond its settings: memory, disk, clock, slow commands, replicas."""

from collections.abc import Callable, Iterator
from datetime import timedelta

from streamstop._core.durations import duration_text
from streamstop._core.findings import Finding, ServerFacts, note, ok, problem

#: Clocks that differ by more are wrong.
CLOCK_TOLERANCE = timedelta(seconds=5)
#: A Redis with less of its memory left is almost full.
_LEAST_LEFT = 0.1
_SLOW_WITHIN = timedelta(hours=1)
#: So long a command may hold Redis up before it is a problem.
_TOO_SLOW = timedelta(milliseconds=100)


def check_memory(facts: ServerFacts) -> Iterator[Finding]:
    """Check that Redis has memory left."""
    info = facts.info or {}
    used, limit = info.get("used_memory"), info.get("maxmemory") or info.get("total_system_memory")
    if used is None:
        return
    of = "its limit" if info.get("maxmemory") else "the machine's memory, for it has no limit"
    if not limit:
        yield ok("redis.memory", f"{_megabytes(used)} used")
    elif used > limit * (1 - _LEAST_LEFT):
        text = f"Redis uses {_megabytes(used)} of {_megabytes(limit)}, {of}: a full Redis refuses new jobs"
        do = "raise maxmemory, give the machine more memory, or shorten STREAMSTOP_OUTCOMES_KEPT"
        yield problem("redis.memory", text, do, used=used, limit=limit)
    else:
        yield ok("redis.memory", f"Redis uses {_megabytes(used)} of {_megabytes(limit)}, {of}", used=used, limit=limit)


def check_disk(facts: ServerFacts) -> Iterator[Finding]:
    """Check that Redis can write to its disk."""
    info = facts.info or {}
    states = [info.get(name, "ok") for name in ("aof_last_write_status", "aof_last_bgrewrite_status")]
    if info.get("aof_enabled") == 0 or "ok" not in states:
        states.append(info.get("rdb_last_bgsave_status", "ok"))
    if set(states) != {"ok"}:
        do = "see Redis' log: the disk may be full, or its folder not writable"
        yield problem("redis.disk", "Redis could not write to its disk", do)


def check_clock(facts: ServerFacts) -> Iterator[Finding]:
    """Check that this machine's clock agrees with Redis' clock."""
    ahead = facts.clock_ahead
    if abs(ahead) <= CLOCK_TOLERANCE:
        yield ok("redis.clock", "the clocks of this machine and of Redis agree")
    else:
        text = f"the clock of this machine is {clock_text(ahead)} Redis' clock"
        yield problem("redis.clock", text, "set both machines' clocks by NTP", seconds=round(ahead.total_seconds(), 3))


def clock_text(ahead: timedelta) -> str:
    """Return how a clock stands to another: ``60 s ahead of``."""
    return f"{duration_text(round(abs(ahead).total_seconds()))} {'ahead of' if ahead > timedelta(0) else 'behind'}"


def check_slow_commands(facts: ServerFacts) -> Iterator[Finding]:
    """Check that no command of ours has held Redis up within the last hour."""
    if facts.slow is None or facts.now is None:
        yield note("redis.slow", "whether commands were slow is not known: this Redis user may not run SLOWLOG")
        return
    recent = [command for command in facts.slow if facts.now - command.at <= _SLOW_WITHIN]
    if not recent:
        yield ok("redis.slow", "the slow log has no command of ours from the last hour")
        return
    slowest = max(recent, key=lambda command: command.duration)
    milliseconds = slowest.duration / timedelta(milliseconds=1)
    text = f"commands of ours in the slow log of the last hour: {len(recent)}; the slowest, {slowest.name}, "
    text += f"took {milliseconds:.0f} ms"
    if slowest.duration < _TOO_SLOW:
        yield note("redis.slow", text)
    else:
        do = "see what else Redis' machine does: swapping, saving, other programs; Redis serves nobody meanwhile"
        yield problem("redis.slow", text, do)


def check_replicas(facts: ServerFacts) -> Iterator[Finding]:
    """Check that as many replicas are connected as STREAMSTOP_REDIS_REPLICAS asks for."""
    connected = (facts.info or {}).get("connected_slaves")
    if facts.replicas_wanted and connected is not None and connected < facts.replicas_wanted:
        text = f"STREAMSTOP_REDIS_REPLICAS asks for {facts.replicas_wanted}, and {connected} are connected"
        yield problem("redis.replicas", text, "start the replicas, or lower the setting: enqueueing fails")


#: In the order in which they are reported.
SERVER: tuple[Callable[[ServerFacts], Iterator[Finding]], ...] = (
    check_memory,
    check_disk,
    check_replicas,
    check_clock,
    check_slow_commands,
)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size < 10e9 else f"{size / 1e9:.0f} GB"
