"""``python -m streamstop_simulator.demo``: Celery workers stop simulated stream tasks, each account at its own limit.

It leaves nothing behind: no process, no file, and nothing in a Redis that it found running.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import click

from streamstop import Client, Command, Job, QueueUnavailable, StreamstopError
from streamstop._core.membership import Membership, task_of
from streamstop._redis.errors import ERRORS, failure
from streamstop_simulator import ControlError
from streamstop_simulator.demo import scenario
from streamstop_simulator.demo.accounts_file import write_accounts_file
from streamstop_simulator.demo.broker import InUse, broker, clear, refuse_if_used
from streamstop_simulator.demo.display import display_on
from streamstop_simulator.demo.evaluation import Evaluation, evaluate
from streamstop_simulator.demo.interrupt import Interrupt, Interrupted, interrupts
from streamstop_simulator.demo.processes import Process, ProcessFailed, simulator, workers
from streamstop_simulator.demo.screen import over_limit_line, plot_lines, table_lines
from streamstop_simulator.demo.watch import Watch

_WORKERS = 2
_EXPECTED = (ProcessFailed, InUse, QueueUnavailable, StreamstopError, ControlError, OSError)


@click.command()
@click.option("--fakeredis", is_flag=True, help="Use fakeredis' server, even where there is a real Redis.")
@click.option("--quick", is_flag=True, help="A quarter of the tasks.")
def main(*, fakeredis: bool, quick: bool) -> None:
    """Stop some 200 simulated stream tasks with real Celery workers, and show how.

    The Redis is the one that STREAMSTOP_REDIS_URL names; else a redis-server of the demo's own; else fakeredis.
    """
    with suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may know no block characters
    lanes = [scenario.quick(lane) for lane in scenario.LANES] if quick else scenario.LANES
    with interrupts() as interrupt:
        try:
            well = _play(lanes, interrupt, fake=fakeredis)
        except Interrupted as interrupted:
            click.echo("\r\nInterrupted: everything that the demo had started is stopped.")
            sys.exit(interrupted.exit_code)
        except _EXPECTED as problem:
            click.secho(f"\nThe demo could not go on. {problem}", fg="red", err=True)
            sys.exit(1)
    sys.exit(0 if well else 1)


def _play(lanes: Sequence[scenario.LaneScenario], interrupt: Interrupt, *, fake: bool) -> bool:
    """Play the demo from its first line to its last; return whether all went as it should."""
    click.secho("streamstop: stop stream tasks at cloud vendors, each account at its own limit\n", bold=True)
    jobs: list[Job] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamstop-demo-")))
        redis = stack.enter_context(broker(folder, interrupt, fake=fake))
        _tell("Redis", redis.description)
        interrupt.check()

        simulator_process, vendors = stack.enter_context(simulator(folder, interrupt))
        _tell("vendors", f"Alibaba Cloud and Tencent Cloud, simulated on {vendors.url}")

        client = stack.enter_context(Client(redis.url))
        if redis.process is None:
            _make_way(client, redis.url, lanes, stack, jobs)
        accounts = write_accounts_file(folder, scenario.ACCOUNTS, vendors.url)
        worker_processes = stack.enter_context(
            workers(_WORKERS, folder, redis_url=redis.url, accounts=accounts, interrupt=interrupt)
        )
        _tell("workers", f"{_WORKERS} x celery -A streamstop_worker worker")

        scenario.set_up(vendors, lanes)
        _tell("tasks", f"{sum(lane.count for lane in lanes)}, running at {len(scenario.ACCOUNTS)} accounts")
        _tell("faults", "some tasks have ended, some calls get a 500, one lane is throttled")
        jobs_of = _close_room(client, lanes)
        jobs += (job for lane in jobs_of.values() for job in lane)

        watch = Watch(client, vendors, jobs_of)
        running = [process for process in (redis.process, simulator_process, *worker_processes) if process]
        with display_on() as display:
            watch.follow(display, interrupt, running)
        return _conclude(evaluate(vendors, watch, jobs_of), worker_processes)


def _make_way(
    client: Client, url: str, lanes: Sequence[scenario.LaneScenario], stack: ExitStack, jobs: Sequence[Job]
) -> None:
    """See that nobody else uses the queue of this Redis, and that the demo's traces go when its workers have."""
    own = [lane.lane for lane in lanes]
    refuse_if_used(client, [account.name for account in scenario.ACCOUNTS])
    try:
        clear(client, url, scenario.ACCOUNTS, own, scenario.ROOM)
    except ERRORS as error:
        refused = "the demo did not begin"
        raise failure(error, consequence=refused, refused=refused) from error
    client.close()  # so that no connection is open while processes are forked

    def leave() -> None:
        with suppress(*ERRORS):
            clear(client, url, scenario.ACCOUNTS, own, scenario.ROOM, jobs=jobs)

    stack.callback(leave)


def _close_room(client: Client, lanes: Sequence[scenario.LaneScenario]) -> dict[scenario.LaneScenario, list[Job]]:
    """Close the room that all tasks run in, as a backend service does; return the jobs that stop each lane's tasks."""
    commands = {lane: [task.command for task in lane.tasks()] for lane in lanes}
    early = [command for of_lane in commands.values() for command in of_lane[: -scenario.LATE]]
    late = [command for of_lane in commands.values() for command in of_lane[-scenario.LATE :]]
    client.register_many(scenario.ROOM, early)
    began = time.monotonic()
    shutdown = client.stop_room(scenario.ROOM)
    _tell("producer", f"client.stop_room({scenario.ROOM!r}) took {(time.monotonic() - began) * 1000:.1f} ms")
    joined = client.register_many(scenario.ROOM, late)
    assert joined == shutdown, "what starts in a closing room is stopped with it"  # noqa: S101
    _tell("", f"{len(late)} late starters were registered after it, and are stopped too\n")

    def job_of(command: Command) -> Job:
        return client.job(Membership(shutdown=shutdown.id, member=task_of(command)).job_id(command.lane))

    return {lane: [job_of(command) for command in of_lane] for lane, of_lane in commands.items()}


def _conclude(end: Evaluation, running: Sequence[Process]) -> bool:
    """Show the table, the plot and the verdict; return whether all went as it should."""
    note = "not found: it ended by itself, or never was; this vendor does not tell which"
    for line in ["", *table_lines(end.lanes), click.style(note, dim=True), "", *plot_lines(end.lanes), ""]:
        click.echo(line)
    click.echo(over_limit_line(end.over_limit))
    if end.problems:
        click.secho("\n".join(["", "Not as it should be:", *(f"  {problem}" for problem in end.problems)]), fg="red")
        if end.still_open:
            click.echo("".join(process.last_lines() for process in running))
        return False
    click.echo("Every stop ended as it should, and no task is left running.\n")
    click.echo("Next: docs/tutorial.md, a rehearsal of your own;")
    click.echo("docs/guides/workers.md, to put in your accounts and start workers.")
    return True


def _tell(what: str, text: str) -> None:
    click.echo(f"  {click.style(f'{what:9}', dim=True)} {text}")


if __name__ == "__main__":
    main()
