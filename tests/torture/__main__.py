"""``python -m tests.torture run --seed 1 --minutes 5``: a run and its summary; exit code 1 if an invariant broke."""

import sys
from collections.abc import Sequence

import click

from tests.torture.report import summary
from tests.torture.run import plan, run
from tests.torture.schedule import ALL, Kind

_KINDS = [kind.value for kind in Kind]


@click.group()
def main() -> None:
    """Torture streamstop: real workers, a real Redis and simulated vendors under faults that a seed decides."""


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
    """Run once, print what was done and what came of it."""
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


if __name__ == "__main__":
    main()
