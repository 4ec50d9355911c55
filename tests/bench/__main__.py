"""``python -m tests.bench [pacing] [enqueue] [rooms] [crowd] [soak]``: measure, and print a table and the targets.

It passes no judgement by its exit code: a busy machine is not a fault.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from tests.bench import enqueueing, rooms, scenario, soak, soak_report
from tests.bench.lanes import LanesWay
from tests.bench.plain_celery import PlainCeleryWay
from tests.bench.scenario import Figures, Scenario

_WAYS = (LanesWay(), PlainCeleryWay())
_SCENARIOS = ("pacing", "enqueue", "rooms", "crowd", "soak")


@dataclass(frozen=True)
class Target:
    """A figure that is to be reached."""

    what: str
    reached: bool
    measured: str


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(_SCENARIOS))
@click.option("--quick", is_flag=True, help="Fewer jobs; for a look, not for figures.")
@click.option("--breakdown", is_flag=True, help="Show which Redis commands a job costs, idle ones included.")
@click.option("--only-ours", is_flag=True, help="Leave the plain Celery way out.")
@click.option("--rounds", default=1, show_default=True, help="Runs of each way, in turns; B's latencies are pooled.")
@click.option("--minutes", default=60.0, show_default=True, help="soak: how long.")
@click.option("--rate", default=200.0, show_default=True, help="soak: jobs a second.")
@click.option("--lanes", default=50, show_default=True, help="soak: lanes, five to an account.")
@click.option("--threads", default=scenario.THREADS, show_default=True, help="soak: threads of each worker.")
@click.option("--out", default="docs", show_default=True, type=click.Path(path_type=Path), help="soak: CSV and plot.")
def main(
    names: Sequence[str],
    *,
    quick: bool,
    breakdown: bool,
    only_ours: bool,
    rounds: int,
    minutes: float,
    rate: float,
    lanes: int,
    threads: int,
    out: Path,
) -> None:
    """Measure streamstop beside the plain Celery way; without NAMES, the scenarios pacing, enqueue and rooms.

    pacing: one account with a backlog at its limit, another that sends a stop now and then. enqueue: 10,000 jobs at
    once. rooms: a room of 10,000 is stopped and watched. crowd: 40 accounts with a backlog each keep every thread busy,
    and one sends a stop now and then. soak: an even load for an hour, to see whether anything grows.
    """
    ways = _WAYS[:1] if only_ours else _WAYS
    targets: list[Target] = []
    for name in names or _SCENARIOS[:3]:
        match name:
            case "pacing":
                asked = Scenario(backlog=60 if quick else 300)
                targets += _pacing(f"pacing: {asked.backlog} stops of A", asked, ways, rounds, breakdown=breakdown)
            case "crowd":
                asked = Scenario(busy_accounts=40, backlog=40 if quick else 150)
                title = f"crowd: {asked.busy_accounts} accounts with {asked.backlog} stops each as A"
                # No way that holds waiting jobs in its workers comes to an end here in reasonable time.
                _pacing(title, asked, _WAYS[:1], rounds, breakdown=breakdown)
            case "rooms":
                targets += _rooms(tasks=2_000 if quick else 10_000, turns=2 if quick else 3)
            case "soak":
                targets += _soak(soak.Soak(minutes, rate, lanes, threads), out)
            case _:
                targets.append(_enqueue(jobs=2_000 if quick else 10_000, turns=3 if quick else 5))
    if targets:
        click.echo("targets")
        for target in targets:
            click.echo(f"  {'reached' if target.reached else 'MISSED ':8} {target.what}: {target.measured}")


def _pacing(title: str, asked: Scenario, ways: Sequence[scenario.Way], rounds: int, *, breakdown: bool) -> list[Target]:
    measured = [[scenario.measure(way, asked) for way in ways] for _ in range(rounds)]
    columns = [scenario.pooled(runs) for runs in zip(*measured, strict=True)]
    ours = columns[0]
    click.echo(f"{title} at {scenario.LIMIT} calls/s, one stop of B each {scenario.SEND_EVERY_S} s,")
    click.echo(f"  the vendor answers after {scenario.VENDOR_LATENCY_MS} ms; ", nl=False)
    click.echo(f"{scenario.WORKERS} workers of {scenario.THREADS} threads, loopback Redis")
    click.echo(f"  {ours.machine}")
    click.echo()
    _row("", [figures.way for figures in columns])
    for what, cells in _rows(columns):
        _row(what, cells)
    click.echo()
    if breakdown:
        for figures in columns:
            _breakdown(figures)
    ratio, p99 = ours.span_s / ours.ideal_s, ours.latency_ms(99)
    most, commands = ours.most_in_a_second, ours.commands_per_job
    return [
        Target("A's span at most 1.05 x ideal", ratio <= 1.05, f"{ratio:.3f}"),
        Target(f"at most {scenario.LIMIT} calls of A in any second", most <= scenario.LIMIT, f"{most}"),
        Target("B's enqueue to call p99 at most 10 ms", p99 <= 10, f"{p99:.1f} ms"),
        Target("at most 35 Redis commands per job", commands <= 35, f"{commands:.1f}"),
    ]


def _rows(columns: Sequence[Figures]) -> list[tuple[str, list[str]]]:
    return [
        ("A: span (s)", [f"{one.span_s:.2f}" for one in columns]),
        (f"A: span / ideal {columns[0].ideal_s:.1f} s", [f"{one.span_s / one.ideal_s:.3f}" for one in columns]),
        ("A: most calls in any second", [f"{one.most_in_a_second}" for one in columns]),
        ("B: enqueue to call, median (ms)", [f"{one.latency_median_ms:.1f}" for one in columns]),
        ("B: enqueue to call, p99 (ms)", [f"{one.latency_ms(99):.1f}" for one in columns]),
        ("B: enqueue to call, max (ms)", [f"{max(one.latencies_ms):.1f}" for one in columns]),
        ("Redis commands per job", [f"{one.commands_per_job:.1f}" for one in columns]),
        ("  without the idle workers'", [f"{one.commands_per_job_above_idle:.1f}" for one in columns]),
        ("worker CPU s per 1,000 jobs", [_number(one.cpu_s_per_1000) for one in columns]),
        ("  without the idle workers'", [_number(one.cpu_s_per_1000_above_idle) for one in columns]),
        ("idle workers: commands/s", [f"{one.idle_commands / one.duration_s:.1f}" for one in columns]),
        ("jobs of A and B", [f"{one.jobs}" for one in columns]),
        ("  of them B's", [f"{len(one.latencies_ms)}" for one in columns]),
    ]


def _breakdown(figures: Figures) -> None:
    click.echo(f"{figures.way}: Redis commands per job")
    for name, calls in sorted(figures.cost.by_command.items(), key=lambda entry: -entry[1]):
        click.echo(f"  {calls / figures.jobs:8.2f}  {name}")
    click.echo()


def _enqueue(jobs: int, turns: int) -> Target:
    figures = enqueueing.measure(jobs, turns)
    click.echo(f"enqueue: {jobs:,} jobs, median of {turns} turns each; {figures.machine}")
    click.echo()
    for what, seconds in (
        ("enqueue_many", figures.ours_s),
        ("  making its commands before", figures.making_s),
        ("apply_async, plain Celery", figures.plain_s),
    ):
        _row(what, [f"{median(seconds):.3f} s", f"{jobs / median(seconds):,.0f}/s"])
    _row("enqueue_many is faster by", [f"{figures.ratio:.2f} x"])
    _row("  the making counted", [f"{figures.ratio_with_making:.2f} x"])
    click.echo()
    return Target(f"enqueue_many of {jobs:,} at least 3 x apply_async", figures.ratio >= 3, f"{figures.ratio:.2f} x")


def _rooms(tasks: int, turns: int) -> list[Target]:
    figures = rooms.measure(tasks, turns)
    click.echo(f"rooms: stop_room of {tasks:,} registered tasks, median of {turns} turns; {figures.machine}")
    click.echo()
    returned_ms, in_lane_s = median(figures.returned_s) * 1000, median(figures.in_lane_s)
    small, big = figures.progress
    _row("register_many of all", [f"{median(figures.register_s) * 1000:.0f} ms"])
    _row("stop_room returns after", [f"{returned_ms:.1f} ms"])
    _row("the last job is in its lane after", [f"{in_lane_s:.2f} s"])
    _row("Redis memory per waiting job", [f"{median(figures.bytes_per_job):,.0f} bytes"])
    for cost in figures.progress:
        cells = [f"{cost.median_ms:.2f} ms", f"{cost.commands:.0f} reads"]
        _row(f"one progress, of {cost.tasks:,} tasks", cells)
    click.echo()
    equal = small.commands == big.commands and big.median_ms <= small.median_ms * 1.25
    return [
        Target("stop_room returns within 20 ms", returned_ms <= 20, f"{returned_ms:.1f} ms"),
        Target("the last job in its lane within 3 s", in_lane_s <= 3, f"{in_lane_s:.2f} s"),
        Target("a progress costs the same of any room", equal, f"{small.median_ms:.2f} and {big.median_ms:.2f} ms"),
    ]


def _soak(asked: soak.Soak, out: Path) -> list[Target]:
    out.mkdir(parents=True, exist_ok=True)
    samples: list[soak_report.Sample] = []
    try:
        figures = soak.measure(asked, samples)
    finally:
        soak_report.write_csv(samples, out / "soak.csv")
    caption = soak.caption(asked, figures)
    for text in caption:
        click.echo(text)
    click.echo()
    rows = soak_report.compared(samples)
    for line in soak_report.table(rows):
        click.echo(line)
    click.echo()
    soak_report.write_plot(samples, out / "soak.svg", caption)
    lost = figures.enqueued - figures.results.total()
    return [
        Target("no job without an outcome", lost == 0, f"{lost}"),
        Target("no call over a limit", figures.over_limit == 0, f"{figures.over_limit}"),
        *(
            Target(f"{row.what} does not grow by a twentieth", (row.ratio or 0) <= 1.05, f"{row.ratio or 0:.3f} x")
            for row in rows
            if row.must_not_grow
        ),
    ]


def _row(what: str, cells: Sequence[str]) -> None:
    click.echo(f"  {what:34}" + "".join(f"{cell:>16}" for cell in cells))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
