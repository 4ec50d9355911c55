"""The command line, ``streamstop``, for people and scripts.

Each command calls a :class:`~streamstop.client.Client`, and does nothing that a service could not do with it. A command
validates all of its input before it enqueues anything.
"""

import click

from streamstop import __version__
from streamstop.cli import (
    completion,
    controls,
    dead,
    doctor,
    drain,
    events,
    find,
    jobs,
    lanes,
    metrics,
    operations,
    rooms,
    stop_status,
    tokens,
    vendor_errors,
    workers,
)
from streamstop.cli._shared.exit_codes import EXIT_CODES, FailingGroup

__all__ = ["main"]


@click.group(
    cls=FailingGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    blocks={
        "Examples": [
            "streamstop operations",
            "streamstop stop live.StopMPUTask --account live-cn AppId=yourapp TaskId=t-1 --wait 30",
            "streamstop stop --from tasks.jsonl --wait 600 --json",
            "streamstop room stop room-42 --watch",
            "streamstop job ID",
            "streamstop lanes --watch",
            "streamstop dead list",
            "streamstop pause live-cn --for 30m",
            "streamstop events --follow",
            "streamstop doctor",
        ],
        "Exit codes": EXIT_CODES,
    },
)
@click.version_option(__version__)
def main() -> None:
    """Stop stream tasks at cloud vendors, through the queue."""


for command in (
    operations.operations,
    completion.completion,
    stop_status.stop,
    stop_status.status,
    rooms.room,
    jobs.job,
    jobs.cancel,
    find.find,
    lanes.lanes,
    metrics.metrics,
    dead.dead,
    controls.pause,
    controls.resume,
    controls.limit,
    drain.drain,
    events.events,
    vendor_errors.errors,
    workers.workers,
    doctor.doctor,
    tokens.token,
):
    main.add_command(command)
