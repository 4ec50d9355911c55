"""``python -m tests.torture run --seed 1 --minutes 5``: a run and its summary; exit code 1 if an invariant broke."""

import sys
from collections.abc import Sequence

import click

from tests.torture import kills
from tests.torture.report import summary
from tests.torture.run import plan, run
from tests.torture.schedule import ALL, Kind

_KINDS = [kind.value for kind in Kind]


@click.group()
def main() -> None:
    """Run real workers, a real Redis and the simulated vendors under faults that a seed determines."""


@main.command("run")
@click.option("--seed", default=1, show_default=True, help="Decides the faults and the load.")
@click.option("--minutes", default=5.0, show_default=True, help="How long faults come; settling is beside that.")
@click.option("--only", multiple=True, type=click.Choice(_KINDS), help="Only these kinds of faults.")
@click.option("--without", multiple=True, type=click.Choice(_KINDS), help="All kinds of faults but these.")
@click.option("--per-second", default=50.0, show_default=True, help="Commands per second, beside the rooms.")
@click.option("--every", default=2.0, show_default=True, help="Seconds between two faults, on average.")
@click.option("--show-plan", is_flag=True, help="Print the faults that the seed decides, and run nothing.")
def run_command(
    seed: int,
    minutes: float,
    only: Sequence[str],
    without: Sequence[str],
    *,
    per_second: float,
    every: float,
    show_plan: bool,
) -> None:
    """Run once, and print what was done and the result."""
    kinds = (frozenset(map(Kind, only)) or ALL) - frozenset(map(Kind, without))
    made = plan(seed, minutes * 60, kinds=kinds, per_second=per_second, every_s=every)
    if show_plan:
        for fault in made.faults:
            click.echo(f"{fault.at:8.2f}  {fault}")
        return
    verdict = run(made, click.echo)
    for line in summary(verdict):
        click.echo(line)
    sys.exit(0 if verdict.ok else 1)


@main.command("kills")
@click.option("--rounds", default=1, show_default=True, help="Rounds of each way, in turns.")
@click.option("--only-ours", is_flag=True, help="Leave plain Celery out.")
def kills_command(rounds: int, *, only_ours: bool) -> None:
    """Kill a worker six times during 600 jobs, and count; do the same with plain Celery. The exit code is always 0."""
    click.echo(f"{kills.JOBS} jobs, the vendor answers after {kills.VENDOR_LATENCY_MS} ms;", nl=False)
    click.echo(f" {kills.WORKERS} workers that make {kills.THREADS} calls at once;", nl=False)
    click.echo(f" {kills.KILLS} SIGKILLs of one, {kills.EVERY.total_seconds():g} s apart, each replaced at once")
    click.echo(f"call timeout {kills.CALL_TIMEOUT_S:g} s, so that a lease is {kills.LEASE_S:g} s")
    later = f"open {kills.CLAIMED_S:g} s later"
    click.echo(f"{'':14}{'lost':>8}{'called twice':>16}{later:>18}{'held in the end':>18}{'last kill to last end':>26}")
    for one in kills.rounds(rounds, only_ours=only_ours):
        click.echo(
            f"{one.way:14}{one.lost:8}{one.called_twice:16}{one.open_later:18}{one.held:18}{one.last_end_s:24.1f} s"
        )


if __name__ == "__main__":
    main()
