"""The tables and targets of the scenarios that run beside the simulator: pacing, enqueue, rooms, soak."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from tests.bench import enqueueing, rooms, scenario, soak, soak_report
from tests.bench.results import ONE_AT_A_TIME, Section, Target
from tests.bench.scenario import Figures, Scenario


def pacing(asked: Scenario, ways: Sequence[scenario.Way], rounds: int) -> tuple[Section, list[Figures]]:
    """Run the ways in turns; return the section, and the figures of each way."""
    measured = [[scenario.measure(way, asked) for way in ways] for _ in range(rounds)]
    columns = [scenario.pooled(runs) for runs in zip(*measured, strict=True)]
    ours = columns[0]
    ratio, p99 = ours.span_s / ours.ideal_s, ours.latency_ms(99)
    most, commands = ours.most_in_a_second, ours.commands_per_job
    section = Section(
        name="pacing",
        text=(
            f"{asked.backlog} stops of A at {scenario.LIMIT} calls/s, one stop of B each {scenario.SEND_EVERY_S} s; the"
            f" simulated vendor answers after {scenario.VENDOR_LATENCY_MS} ms; {scenario.WORKERS} workers at their"
            f" default concurrency (plain Celery: {scenario.THREADS} threads)."
        ),
        header=["", *(figures.way for figures in columns)],
        rows=[[what, *cells] for what, cells in _rows(columns)],
        targets=[
            Target("A's span at most 1.04 x ideal", ratio <= 1.04, f"{ratio:.3f}"),
            Target(f"at most {scenario.LIMIT} calls of A in any second", most <= scenario.LIMIT, f"{most}"),
            Target("B's enqueue to call p99 at most 10 ms", p99 <= 10, f"{p99:.1f} ms"),
            Target("at most 25 Redis commands per job", commands <= 25, f"{commands:.1f}", ONE_AT_A_TIME),
        ],
        figures=[asdict(figures) for figures in columns],
    )
    return section, columns


def breakdown(figures: Figures) -> list[str]:
    """Return which Redis commands a job costs, as lines of text."""
    counted = sorted(figures.cost.by_command.items(), key=lambda entry: -entry[1])
    head = f"{figures.way}: Redis commands per job"
    return [head, *(f"  {calls / figures.jobs:8.2f}  {name}" for name, calls in counted), ""]


def enqueue(jobs: int, turns: int) -> Section:
    """Enqueue many jobs at once, and one at a time."""
    figures = enqueueing.measure(jobs, turns)
    rows = [
        [what, f"{median(seconds):.3f} s", f"{jobs / median(seconds):,.0f}/s"]
        for what, seconds in (
            ("enqueue_many", figures.ours_s),
            ("  making its commands before", figures.making_s),
            ("apply_async, plain Celery", figures.plain_s),
        )
    ]
    rate, single_ms = jobs / median(figures.ours_s), median(figures.single_s) * 1000
    trips = figures.single_round_trips
    return Section(
        name="enqueue",
        text=f"{jobs:,} jobs; median of {turns} turns each; no worker takes them. Workers have published the account.",
        header=["", "", ""],
        rows=[
            *rows,
            ["enqueue_many is faster by", f"{figures.ratio:.2f} x", ""],
            ["  the making counted", f"{figures.ratio_with_making:.2f} x", ""],
            ["enqueue, one job", f"{single_ms:.2f} ms", f"{trips:g} round trips"],
        ],
        targets=[
            Target(f"enqueue_many of {jobs:,} at least 3 x apply_async", figures.ratio >= 3, f"{figures.ratio:.2f} x"),
            Target(f"enqueue_many of {jobs:,}: at least 20,000/s", rate >= 20_000, f"{rate:,.0f}/s"),
            Target("enqueue of one job at most 0.6 ms", single_ms <= 0.6, f"{single_ms:.2f} ms"),
            Target("enqueue of one job: one round trip", trips <= 1, f"{trips:g}"),
        ],
        figures=[asdict(figures)],
    )


def room(tasks: int, turns: int) -> Section:
    """Stop a big room."""
    figures = rooms.measure(tasks, turns)
    returned_ms, in_lane_s = median(figures.returned_s) * 1000, median(figures.in_lane_s)
    small, big = figures.progress
    equal = small.commands == big.commands and big.median_ms <= small.median_ms * 1.25
    return Section(
        name="rooms",
        text=f"stop_room of {tasks:,} registered tasks, median of {turns} turns.",
        header=["", "", ""],
        rows=[
            ["register_many of all", f"{median(figures.register_s) * 1000:.0f} ms", ""],
            ["stop_room returns after", f"{returned_ms:.1f} ms", ""],
            ["the last job is in its lane after", f"{in_lane_s:.2f} s", ""],
            ["Redis memory per waiting job", f"{median(figures.bytes_per_job):,.0f} bytes", ""],
            *(
                [f"one progress, of {cost.tasks:,} tasks", f"{cost.median_ms:.2f} ms", f"{cost.commands:.0f} reads"]
                for cost in figures.progress
            ),
        ],
        targets=[
            Target("stop_room returns within 20 ms", returned_ms <= 20, f"{returned_ms:.1f} ms"),
            Target("the last job in its lane within 3 s", in_lane_s <= 3, f"{in_lane_s:.2f} s"),
            Target("a progress costs the same of any room", equal, f"{small.median_ms:.2f} and {big.median_ms:.2f} ms"),
        ],
        figures=[asdict(figures)],
    )


def soaked(asked: soak.Soak, out: Path) -> Section:
    """Run the soak. Its samples are written even if it fails."""
    out.mkdir(parents=True, exist_ok=True)
    samples: list[soak_report.Sample] = []
    try:
        figures = soak.measure(asked, samples)
    finally:
        soak_report.write_csv(samples, out / f"{asked.name}.csv")
    caption = soak.caption(asked, figures)
    rows = soak_report.compared(samples)
    soak_report.write_plot(samples, out / f"{asked.name}.svg", caption)
    lost = figures.enqueued - figures.results.total()
    return Section(
        name=asked.name,
        text=" ".join(caption),
        header=["", "first tenth", "last tenth", "ratio"],
        rows=list(soak_report.table(rows)),
        targets=[
            Target("no job without an outcome", lost == 0, f"{lost}"),
            Target("no call over a limit", figures.over_limit == 0, f"{figures.over_limit}"),
            *(
                Target(f"{row.what} does not grow by a twentieth", (row.ratio or 0) <= 1.05, f"{row.ratio or 0:.3f} x")
                for row in rows
                if row.must_not_grow
            ),
        ],
        # asdict() cannot copy a Counter.
        figures=[{name: dict(value) if isinstance(value, Counter) else value for name, value in vars(figures).items()}],
        written=[f"{asked.name}.svg"],
    )


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


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
