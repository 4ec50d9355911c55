"""``python -m streamstop_simulator.dev``: runs Redis, the simulated vendors, two workers and the page until Ctrl-C.

It always starts its own Redis, and ignores ``STREAMSTOP_REDIS_URL``. At its end, no process and no file is left.
"""

import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click

from streamstop import Client, StreamstopError
from streamstop_simulator import ControlError
from streamstop_simulator.demo.accounts_file import write_accounts_file
from streamstop_simulator.demo.broker import own_broker
from streamstop_simulator.demo.embedded_redis import free_port
from streamstop_simulator.demo.interrupt import Interrupt, Interrupted, interrupts
from streamstop_simulator.demo.processes import Process, ProcessFailed, http_service, simulator, workers
from streamstop_simulator.dev import sample
from streamstop_simulator.dev.guide import guide

_WORKERS = 2
_CHECK_EVERY_S = 0.1
_EXPECTED = (ProcessFailed, StreamstopError, ControlError, OSError)


@click.command()
@click.option("--fakeredis", is_flag=True, help="Use fakeredis, even if there is a redis-server.")
def main(*, fakeredis: bool) -> None:
    """Run Redis, the simulated vendors, two workers and the HTTP service, with sample tasks, until Ctrl-C or SIGTERM.

    The exit code is 0 after Ctrl-C or SIGTERM, and 1 if a process ended by itself.
    """
    for name in [name for name in os.environ if name.startswith("STREAMSTOP_")]:
        del os.environ[name]  # they belong to another queue
    with interrupts() as interrupt:
        try:
            _run(interrupt, fake=fakeredis)
        except Interrupted:
            click.echo("\r\nEverything was stopped.")
        except _EXPECTED as problem:
            click.secho(f"\nEverything was stopped: {problem}", fg="red", err=True)
            sys.exit(1)


def _run(interrupt: Interrupt, *, fake: bool) -> None:
    """Start everything, print the guide, and check the processes until one ends or a signal arrives."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamstop-dev-")))
        click.echo("Starting Redis, the simulated vendors, two workers and the page …")
        redis = stack.enter_context(own_broker(folder, interrupt, fake=fake))
        simulator_process, vendors = stack.enter_context(simulator(folder, interrupt))
        accounts_file = write_accounts_file(folder, sample.ACCOUNTS, vendors.url)
        worker_processes = stack.enter_context(
            workers(_WORKERS, folder, redis_url=redis.url, accounts=accounts_file, interrupt=interrupt)
        )
        port = free_port()
        server = stack.enter_context(http_service(folder, redis_url=redis.url, port=port, interrupt=interrupt))
        with Client(redis.url) as client:
            sample.create(vendors, client)
        page = f"http://127.0.0.1:{port}/"
        where = guide(
            redis_url=redis.url, simulator_url=vendors.url, page=page, accounts_file=accounts_file, logs=folder
        )
        click.echo(f"\n{where}")
        running = [process for process in (redis.process, simulator_process, server, *worker_processes) if process]
        _check_until_interrupted(running, interrupt)


def _check_until_interrupted(running: list[Process], interrupt: Interrupt) -> None:
    while True:
        interrupt.check()
        for process in running:
            process.check()
        time.sleep(_CHECK_EVERY_S)


if __name__ == "__main__":
    main()
