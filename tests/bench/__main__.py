"""``python -m tests.bench NAMES…``: measure, print tables and targets, and write them as JSON and Markdown.

A missed target does not change the exit code, because a busy machine is not a bug.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from streamstop_simulator.demo.embedded_redis import redis_server
from tests.bench import (
    crowd,
    exporting,
    finding,
    growing_rooms,
    growth,
    high_limit,
    idle,
    observing,
    profiling,
    results,
    serving,
    soak,
    tables,
    throughput,
)
from tests.bench.lanes import LanesWay
from tests.bench.metering import environment
from tests.bench.plain_celery import PlainCeleryWay
from tests.bench.results import Section
from tests.bench.scenario import Scenario
from tests.bench.stage import OURS, PLAIN, Engine

_WAYS = (LanesWay(), PlainCeleryWay())
#: Without names, every scenario but the soak runs.
_SCENARIOS = (
    *("pacing", "enqueue", "rooms", "throughput", "high", "crowd", "idle", "growth", "growing-rooms", "find"),
    *("observing", "exporting", "http", "profile", "soak"),
)

_WAITING, _TASKS = (1_000, 10_000, 100_000, 1_000_000), (100, 1_000, 10_000, 100_000)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(_SCENARIOS))
@click.option("--quick", is_flag=True, help="Fewer jobs: a look, no figures. It writes no files without --out.")
@click.option("--breakdown", is_flag=True, help="pacing: show which Redis commands a job costs, idle ones included.")
@click.option("--only-ours", is_flag=True, help="Leave the plain Celery way out.")
@click.option("--engine-path", type=click.Path(path_type=Path), help="Another checkout, to be run in turns with this.")
@click.option("--rounds", default=1, show_default=True, help="pacing: runs of each way, in turns.")
@click.option("--minutes", default=60.0, show_default=True, help="soak: how long.")
@click.option("--rate", default=200.0, show_default=True, help="soak: jobs a second.")
@click.option("--lanes", default=50, show_default=True, help="soak: lanes, five to an account.")
@click.option("--workers", default=2, show_default=True, help="soak: worker processes.")
@click.option("--concurrency", type=int, help="soak: jobs that a worker runs at once; without it, the default.")
@click.option(
    "--vendor",
    type=click.Choice(soak.VENDORS),
    default=soak.VENDORS[0],
    show_default=True,
    help="soak: what is called. The answering one checks nothing, and takes thousands of calls a second.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Where files go.  [default: docs]")
def main(
    names: Sequence[str],
    *,
    quick: bool,
    breakdown: bool,
    only_ours: bool,
    engine_path: Path | None,
    rounds: int,
    minutes: float,
    rate: float,
    lanes: int,
    workers: int,
    concurrency: int | None,
    vendor: str,
    out: Path | None,
) -> None:
    """Measure streamstop. Without NAMES, run every scenario but the soak.

    pacing: one account with a backlog at its limit, another that sends a stop now and then. enqueue: 10,000 jobs at
    once. rooms: a room of 10,000 is stopped and watched. throughput: one worker process beside one of plain Celery,
    1 to 1,000 lanes without a limit. high: one lane of 100 and of 500 calls/s. crowd: 40 and 200 accounts with a
    backlog each, and one that sends a stop now and then. idle: what 3 to 3,000 accounts cost without a job. growth: a
    thousand to a million jobs wait in one lane. growing-rooms: rooms of up to 100,000 are stopped and cancelled. find:
    tasks are looked for among 100,000 waiting and as many ended jobs.
    observing: what metrics and traces cost a worker. exporting: what `streamstop metrics` needs for 1,000 lanes.
    http: a thousand clients of the HTTP service wait, others enqueue 500 commands a second. profile: where a worker's
    CPU goes. soak: an even load for an
    hour, to see whether anything grows.
    """
    others = [] if engine_path is None else [Engine("other checkout", engine_path.resolve())]
    folder = out or (None if quick else Path("docs"))
    with redis_server() as server, server.client() as redis:
        described = environment(redis) | ({"run": "quick"} if quick else {})
    click.echo(", ".join(f"{what} {value}" for what, value in described.items()))
    click.echo()
    sections = []
    for name in names or _SCENARIOS[:-1]:
        if name == "soak":
            asked = soak.Soak(minutes, rate, lanes, workers, concurrency, vendor)
            section = tables.soaked(asked, folder or Path("docs"))
        elif name == "pacing":
            ways = _WAYS[:1] if only_ours else _WAYS
            section, columns = tables.pacing(Scenario(backlog=60 if quick else 300), ways, rounds)
            if breakdown:
                for figures in columns:
                    click.echo("\n".join(tables.breakdown(figures)))
        else:
            section = _measured(name, [OURS, *others], quick=quick, only_ours=only_ours)
        sections.append(section)
        click.echo("\n".join(results.lines(section)))
        if folder is not None:
            results.write(section, described | {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}, folder)
    click.echo("targets")
    click.echo("\n".join(_targets(sections)))


def _measured(name: str, engines: Sequence[Engine], *, quick: bool, only_ours: bool) -> Section:
    scenarios: dict[str, Callable[[], Section]] = {
        "enqueue": lambda: tables.enqueue(jobs=2_000 if quick else 10_000, turns=3 if quick else 5),
        "rooms": lambda: tables.room(tasks=2_000 if quick else 10_000, turns=1 if quick else 3),
        "throughput": lambda: throughput.measure(
            throughput.QUICK if quick else throughput.FULL, engines if only_ours else [*engines, PLAIN]
        ),
        "high": lambda: high_limit.measure(3 if quick else 20, [1] if quick else [1, 2], engines),
        "crowd": lambda: crowd.measure([40] if quick else [40, 200], 30 if quick else 150, engines),
        "idle": lambda: idle.measure([3, 3000] if quick else [3, 300, 3000], 3 if quick else 20, engines),
        "growth": lambda: growth.measure(_WAITING[: 3 if quick else 4], 2 if quick else 10, engines),
        "growing-rooms": lambda: growing_rooms.measure(_TASKS[: 2 if quick else 4], engines),
        "exporting": lambda: exporting.measure([100, 1_000]),
        "observing": lambda: observing.measure(500, 4 if quick else 10, 1 if quick else 2),
        "find": lambda: finding.measure(10_000 if quick else 100_000),
        "profile": lambda: profiling.measure(2_000 if quick else 8_000, [OURS] if only_ours else [OURS, PLAIN]),
        "http": lambda: serving.measure(*((200, 100, 6) if quick else (1_000, 500, 60))),
    }
    return scenarios[name]()


def _targets(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        yield from results.target_lines(section.targets)


if __name__ == "__main__":
    main()
