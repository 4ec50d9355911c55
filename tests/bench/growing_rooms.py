"""Growing rooms: register, stop, watch and cancel rooms of a hundred to a hundred thousand tasks.

Stops through another lane, without a limit, probe the latency meanwhile.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.plot import Line, Panel
from tests.bench.producing import PROBE, STOP
from tests.bench.results import Plot, Section, Target
from tests.bench.slowlog import LONGEST_US, slow_log
from tests.bench.stage import OURS, UNLIMITED, Engine, Stage, account, percentile, stage

_ROOM, _PROBED = "room", "probed"
_WORKERS, _EVERY_S = 2, 0.02
_READS = 100
#: How many of a room's tasks may be in flight, and not in their lane, when its fan-out counts as complete.
_UNDER_WAY = 20


@dataclass(frozen=True)
class Figures:
    """The figures of one room."""

    engine: str
    tasks: int
    register_ms: float
    #: Until ``stop_room`` has returned.
    stop_ms: float
    progress_ms: float
    #: Until ``cancel`` has returned, and until the shutdown has ended.
    cancel_ms: float
    cancelled_s: float | None
    #: The latency of the probed lane meanwhile.
    p99_ms: float
    longest_ms: float
    longest: str
    too_long: int


def measure(sizes: Sequence[int], engines: Sequence[Engine]) -> Section:
    """Stop and cancel a room of each size."""
    runs = [run for engine in engines for run in _runs(engine, sizes)]
    runs.sort(key=lambda run: run.tasks)
    return Section(
        name="growing-rooms",
        text=(
            "A room is registered in one call, stopped, watched, and cancelled once it is in its lane; another lane"
            f" enqueues a stop each {_EVERY_S * 1000:g} ms. {_WORKERS} workers."
        ),
        header=[
            "tasks",
            "register_many (ms)",
            "stop_room (ms)",
            "progress (ms)",
            "cancel (ms)",
            "all cancelled (s)",
            "other lane p99 (ms)",
            "longest command (ms)",
            f"over {LONGEST_US // 1000} ms",
        ],
        rows=[
            [
                f"{run.tasks:,}: {run.engine}",
                f"{run.register_ms:.0f}",
                f"{run.stop_ms:.1f}",
                f"{run.progress_ms:.2f}",
                f"{run.cancel_ms:.1f}",
                "over 60" if run.cancelled_s is None else f"{run.cancelled_s:.2f}",
                f"{run.p99_ms:.1f}",
                f"{run.longest_ms:.1f}",
                f"{run.too_long}",
            ]
            for run in runs
        ],
        targets=[_target(run) for run in runs if run.engine == OURS.name],
        figures=[asdict(run) for run in runs],
        plots=[_plot([run for run in runs if run.engine == OURS.name])],
    )


def _runs(engine: Engine, sizes: Sequence[int]) -> list[Figures]:
    accounts = [account(_ROOM), account(_PROBED, UNLIMITED, [PROBE])]
    with stage(engine, accounts, workers=_WORKERS, probes=True) as parts:
        assert parts.prober is not None
        parts.prober.order("single", account=_PROBED, times=5)
        parts.await_calls([_PROBED], 5, patience_s=30)
        _stop_and_cancel(parts, "warm-up", 100)
        return [_run(engine, parts, size) for size in sizes]


def _run(engine: Engine, parts: Stage, tasks: int) -> Figures:
    assert parts.prober is not None
    parts.vendor.take()
    with slow_log(parts.redis) as slow:
        with parts.prober.probing(_PROBED, _EVERY_S):
            times = _stop_and_cancel(parts, f"room-{tasks}", tasks)
        arrivals = [one for one in parts.vendor.take() if one.account == _PROBED]
    return Figures(
        engine=engine.name,
        tasks=tasks,
        **times,
        p99_ms=percentile((one.latency_ms for one in arrivals), 99),
        longest_ms=slow.longest_ms,
        longest=slow.longest[1],
        too_long=slow.too_long,
    )


def _stop_and_cancel(parts: Stage, room: str, tasks: int) -> dict[str, Any]:
    order = parts.producer.order
    registered = order("register", room=room, account=_ROOM, jobs=tasks)
    stopped = order("stop", room=room)
    parts.await_waiting(_ROOM, STOP, max(1, tasks - _UNDER_WAY), patience_s=90)
    read = order("progress", shutdown=stopped["shutdown"], times=_READS)
    cancelled = order("cancel", shutdown=stopped["shutdown"])
    return {
        "register_ms": registered["took_s"] * 1000,
        "stop_ms": stopped["took_s"] * 1000,
        "progress_ms": read["median_s"] * 1000,
        "cancel_ms": cancelled["took_s"] * 1000,
        "cancelled_s": cancelled["ended_s"],
    }


def _target(run: Figures) -> Target:
    longest = f"{run.too_long}, the longest {run.longest_ms:.1f} ms ({run.longest})"
    return Target(f"room of {run.tasks:,}: no command over {LONGEST_US // 1000} ms", run.too_long == 0, longest)


def _plot(runs: Sequence[Figures]) -> Plot:
    panels = [
        Panel("register_many (ms)", [Line("ms", [run.register_ms for run in runs])]),
        Panel(
            "stop_room, progress, cancel (ms)",
            [
                Line("stop_room", [run.stop_ms for run in runs]),
                Line("progress", [run.progress_ms for run in runs]),
                Line("cancel", [run.cancel_ms for run in runs]),
            ],
        ),
        Panel("another lane: enqueue to call, p99 (ms)", [Line("ms", [run.p99_ms for run in runs])]),
        Panel("the longest Redis command (ms)", [Line("ms", [run.longest_ms for run in runs])]),
    ]
    return Plot("bench-rooms.svg", [f"{run.tasks:,}" for run in runs], panels)
