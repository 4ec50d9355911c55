"""``python -m streamstop_simulator.demo``: Celery workers stop simulated stream tasks, each account at its own limit.

At its end, the demo deletes its processes, its files and its keys in a Redis that was found running.
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
@click.option("--fakeredis", is_flag=True, help="Use fakeredis, even if there is a real Redis.")
@click.option("--quick", is_flag=True, help="Run a quarter of the tasks.")
def main(*, fakeredis: bool, quick: bool) -> None:
    """Stop about 200 simulated stream tasks with real Celery workers, and show the progress.

    Redis is the one in STREAMSTOP_REDIS_URL. Without it, the demo starts a redis-server, or fakeredis if there is none.
    """
    with suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # the terminal's encoding may lack block characters
    lanes = [scenario.quick(lane) for lane in scenario.LANES] if quick else scenario.LANES
    with interrupts() as interrupt:
        try:
            succeeded = _run(lanes, interrupt, fake=fakeredis)
        except Interrupted as interrupted:
            click.echo("\r\nInterrupted. Every process of the demo was stopped.")
            sys.exit(interrupted.exit_code)
        except _EXPECTED as problem:
            click.secho(f"\nThe demo failed. {problem}", fg="red", err=True)
            sys.exit(1)
    sys.exit(0 if succeeded else 1)


def _run(lanes: Sequence[scenario.LaneScenario], interrupt: Interrupt, *, fake: bool) -> bool:
    """Run the demo, and return whether every task ended as expected."""
    click.secho("streamstop: stop stream tasks at cloud vendors, each account at its own limit\n", bold=True)
    jobs: list[Job] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamstop-demo-")))
        redis = stack.enter_context(broker(folder, interrupt, fake=fake))
        _print_line("Redis", redis.description)
        interrupt.check()

        simulator_process, vendors = stack.enter_context(simulator(folder, interrupt))
        _print_line("vendors", f"Alibaba Cloud and Tencent Cloud, simulated on {vendors.url}")

        client = stack.enter_context(Client(redis.url))
        if redis.process is None:
            _prepare_found_redis(client, redis.url, lanes, stack, jobs)
        accounts = write_accounts_file(folder, scenario.ACCOUNTS, vendors.url)
        worker_processes = stack.enter_context(
            workers(_WORKERS, folder, redis_url=redis.url, accounts=accounts, interrupt=interrupt)
        )
        _print_line("workers", f"{_WORKERS} x celery -A streamstop_worker worker")

        scenario.set_up(vendors, lanes)
        _print_line("tasks", f"{sum(lane.count for lane in lanes)}, running at {len(scenario.ACCOUNTS)} accounts")
        _print_line("faults", "some tasks have ended, some calls get a 500, one lane is throttled")
        jobs_of = _stop_room(client, lanes)
        jobs += (job for lane in jobs_of.values() for job in lane)

        watch = Watch(client, vendors, jobs_of)
        running = [process for process in (redis.process, simulator_process, *worker_processes) if process]
        with display_on() as display:
            watch.follow(display, interrupt, running)
        return _conclude(evaluate(vendors, watch, jobs_of), worker_processes)


def _prepare_found_redis(
    client: Client, url: str, lanes: Sequence[scenario.LaneScenario], stack: ExitStack, jobs: Sequence[Job]
) -> None:
    """Fail if others use the queue on this Redis; delete the demo's keys now, and when its workers have ended."""
    own = [lane.lane for lane in lanes]
    refuse_if_used(client, [account.name for account in scenario.ACCOUNTS])
    try:
        clear(client, url, scenario.ACCOUNTS, own, scenario.ROOM)
    except ERRORS as error:
        consequence = "the demo did not begin"
        raise failure(error, consequence=consequence, refused=consequence) from error
    client.close()  # the workers are forked next: no child inherits a connection

    def delete_keys() -> None:
        with suppress(*ERRORS):
            clear(client, url, scenario.ACCOUNTS, own, scenario.ROOM, jobs=jobs)

    stack.callback(delete_keys)


def _stop_room(client: Client, lanes: Sequence[scenario.LaneScenario]) -> dict[scenario.LaneScenario, list[Job]]:
    """Stop the room of all tasks, as a backend service does, and return the jobs of each lane."""
    commands = {lane: [task.command for task in lane.tasks()] for lane in lanes}
    early = [command for of_lane in commands.values() for command in of_lane[: -scenario.LATE]]
    late = [command for of_lane in commands.values() for command in of_lane[-scenario.LATE :]]
    client.register_many(scenario.ROOM, early)
    began = time.monotonic()
    shutdown = client.stop_room(scenario.ROOM)
    _print_line("producer", f"client.stop_room({scenario.ROOM!r}) took {(time.monotonic() - began) * 1000:.1f} ms")
    joined = client.register_many(scenario.ROOM, late)
    assert joined == shutdown, "a task registered in a closing room joins its shutdown"  # noqa: S101
    _print_line("", f"{len(late)} tasks were registered after that, and are stopped too\n")

    def job_of(command: Command) -> Job:
        return client.job(Membership(shutdown=shutdown.id, member=task_of(command)).job_id(command.lane))

    return {lane: [job_of(command) for command in of_lane] for lane, of_lane in commands.items()}


def _conclude(result: Evaluation, running: Sequence[Process]) -> bool:
    """Print the table, the plot and the result; return whether every task ended as expected."""
    note = "not found: the task had ended or never existed; the vendor does not tell which"
    for line in ["", *table_lines(result.lanes), click.style(note, dim=True), "", *plot_lines(result.lanes), ""]:
        click.echo(line)
    click.echo(over_limit_line(result.over_limit))
    if result.problems:
        click.secho("\n".join(["", "Not as expected:", *(f"  {problem}" for problem in result.problems)]), fg="red")
        if result.still_open:
            click.echo("".join(process.last_lines() for process in running))
        return False
    click.echo("Every stop ended as expected, and no task is still running.\n")
    click.echo("Next: docs/tutorial.md, a rehearsal of your own;")
    click.echo("docs/guides/workers.md, to put in your accounts and start workers.")
    return True


def _print_line(label: str, text: str) -> None:
    click.echo(f"  {click.style(f'{label:9}', dim=True)} {text}")


if __name__ == "__main__":
    main()
