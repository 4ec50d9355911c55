"""The text that ``make dev`` prints: where everything is, and commands to try."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from streamstop_simulator.dev import sample

#: What each command shows, and the command.
COMMANDS = (
    (
        f"A room of {sample.SLOW_ROOM_TASKS} tasks that is being stopped, two calls per second (add --watch to follow)",
        f"streamstop room show {sample.SLOW_ROOM}",
    ),
    (
        f"Stop the {sample.TASKS_PER_ROOM} tasks of a room, at two vendors",
        f"streamstop room stop {sample.ROOMS[0]} --watch",
    ),
    (
        "Stop one task",
        f"streamstop stop live.StopLivePullToPush --account {sample.SINGLES_ACCOUNT} "
        f"Region={sample.REGION} TaskId=pulled-1 --wait 30",
    ),
    (
        "Ask the vendor for the status of a task",
        f"streamstop status live.DescribeLivePullToPush --account {sample.SINGLES_ACCOUNT} "
        f"Region={sample.REGION} TaskId=pulled-2 --wait 30",
    ),
    ("List the jobs that failed", "streamstop dead list"),
    ("See what the lanes do (add --watch to follow)", "streamstop lanes"),
)


def guide(*, redis_url: str, simulator_url: str, page: str, accounts_file: Path, logs: Path) -> str:
    """Return the text. Every command works in any folder, after the line that sets up the shell."""
    return "\n".join(_lines(redis_url, simulator_url, page, accounts_file, logs))


def _lines(redis_url: str, simulator_url: str, page: str, accounts_file: Path, logs: Path) -> Iterator[str]:
    yield f"  Redis          {redis_url}"
    yield f"  simulator      {simulator_url}  (what it received: {simulator_url}/_control/summary)"
    yield f"  page           {page}  (the HTTP API: {page}v1, described at {page}openapi.json)"
    yield f"  accounts file  {accounts_file}"
    yield f"  logs           {logs}/*.log"
    yield (
        f"  sample         {sample.TASKS} stream tasks at {len(sample.ACCOUNTS)} accounts; rooms {sample.SLOW_ROOM}, "
        f"{sample.ROOMS[0]} to {sample.ROOMS[-1]}"
    )
    yield ""
    yield "In another terminal, first:"
    yield ""
    yield f'    export {_assign("STREAMSTOP_REDIS_URL", redis_url)} PATH={_quoted(Path(sys.executable).parent)}:"$PATH"'
    yield ""
    yield "Then try:"
    for purpose, command in COMMANDS:
        yield ""
        yield f"    # {purpose}"
        yield f"    {command}"
    yield ""
    yield "Ctrl-C ends the workers, the page, the simulator and Redis, and deletes the files."


def _assign(name: str, value: str) -> str:
    return f"{name}={shlex.quote(value)}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
