"""The demo's Redis: the one in ``STREAMSTOP_REDIS_URL``, else a redis-server that it starts, else fakeredis.

The demo does not run on a Redis whose queue is in use: its workers would take the jobs of others.
"""

import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streamstop import Client, Job, Matching
from streamstop._core.constants import (
    ACCOUNTS,
    ANSWERS,
    ARRIVALS,
    BOOK,
    CANCELLED,
    ERROR_COUNTS,
    EVENTS,
    LEASED,
    RECENT,
    SCHEDULE,
    SHUTDOWNS_ENDED,
    SHUTDOWNS_OPEN,
    SWEPT,
    TASK_JOBS,
    WAKE,
)
from streamstop._core.lane import Lane, result_key
from streamstop._core.stream_tasks import TaskNote
from streamstop._redis.pool import close_redis, open_redis
from streamstop._redis.rooms import CONTROL
from streamstop.settings import RedisSettings
from streamstop_simulator import Account
from streamstop_simulator.demo.embedded_redis import NoRedisServer, find_redis_server, redis_server
from streamstop_simulator.demo.interrupt import Interrupt
from streamstop_simulator.demo.processes import Process, ProcessFailed, die_with_parent, processes


class InUse(Exception):
    """The queue on this Redis is in use."""


@dataclass(frozen=True)
class Broker:
    """A Redis that answers."""

    url: str
    #: Which Redis it is, for display. It contains no password.
    description: str
    #: The process that serves it. None for a Redis that was found running, and that is left as it was.
    process: Process | None = None


@contextmanager
def broker(folder: Path, interrupt: Interrupt, *, fake: bool) -> Iterator[Broker]:
    """Provide the Redis of ``STREAMSTOP_REDIS_URL``, else one of its own; with `fake`, always fakeredis."""
    if not fake and (url := os.environ.get("STREAMSTOP_REDIS_URL")):
        yield Broker(url, f"{without_password(url)}, as STREAMSTOP_REDIS_URL says")
        return
    with own_broker(folder, interrupt, fake=fake) as own:
        yield own


@contextmanager
def own_broker(folder: Path, interrupt: Interrupt, *, fake: bool) -> Iterator[Broker]:
    """Run a redis-server until the block ends, or fakeredis where there is none; with `fake`, always fakeredis."""
    executable = None if fake else _redis_server()
    if executable is not None:
        with ExitStack() as stack:
            try:
                server = stack.enter_context(redis_server(folder=folder, before_exec=die_with_parent))
            except RuntimeError as error:
                raise ProcessFailed(str(error)) from None
            description = f"{_version(executable)} on 127.0.0.1:{server.port}, for this run only"
            yield Broker(server.url, description, Process("redis-server", server.process, server.log))
        return
    command = [sys.executable, "-m", "streamstop_simulator.demo.fake_redis"]
    with processes({"fakeredis": command}, folder) as (process,):
        url = process.await_line("fakeredis on ", interrupt).removeprefix("fakeredis on ")
        yield Broker(url, f"fakeredis on {urlsplit(url).netloc}, for this run only", process)


def refuse_if_used(client: Client, accounts: Collection[str]) -> None:
    """Raise :class:`InUse` if others use the queue; `accounts` are the demo's."""
    workers_accounts = set(client.accounts())
    lanes_accounts = {view.lane.account for view in client.lanes()}
    if others := (workers_accounts | lanes_accounts) - set(accounts):
        raise InUse(
            f"This Redis has a streamstop queue in use (accounts: {', '.join(sorted(others))}). "
            "Use another database, for example redis://localhost:6379/15."
        )
    if workers_accounts and lanes_accounts:
        raise InUse("Another demo runs on this Redis, or was killed within the last minute.")


def clear(
    client: Client,
    url: str,
    accounts: Collection[Account],
    lanes: Collection[Lane],
    room: str,
    *,
    jobs: Sequence[Job] = (),
) -> None:
    """Delete the demo's keys from the Redis at `url`, when none of its workers runs."""
    redis: Any = open_redis(RedisSettings.from_environ(url=url))
    if (shutdown := client.room(room).shutdown) is not None:
        steps = f"{result_key(f'{CONTROL.name}.*{shutdown}*')}"
        for pattern in (f"streamstop.shutdown.{shutdown}*", f"{CONTROL.queue}*", steps):
            redis.delete(*redis.scan_iter(pattern), f"streamstop.room.{room}:state", f"streamstop.room.{room}:tasks")
    own = [key for lane in (*lanes, CONTROL) for key in lane.keys]
    redis.delete(*own, *(result_key(job.id) for job in jobs))
    names = [lane.name for lane in (*lanes, CONTROL)]
    redis.srem(ARRIVALS, *names)
    redis.zrem(SCHEDULE, *names)
    redis.zrem(LEASED, *names)
    redis.hdel(CANCELLED, *names)
    own_names = [account.name for account in accounts]
    books = [book for book in redis.scan_iter(f"{BOOK}*") if any(redis.hmget(book, own_names))]
    redis.delete(WAKE, SWEPT, *books)
    redis.zrem(ACCOUNTS, *(f"{account.name} {account.vendor}" for account in accounts))
    _clear_history(redis, names, set(own_names))
    close_redis(redis)
    dead = client.dead_letters
    for letter_id in [letter.id for account in accounts for letter in dead.letters(Matching(account=account.name))]:
        dead.drop(letter_id)


def without_password(url: str) -> str:
    """Return the first address in a Redis URL, without user and password."""
    parts = urlsplit(url.partition(";")[0])
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _redis_server() -> Path | None:
    try:
        return find_redis_server()
    except NoRedisServer:
        return None


def _version(executable: Path) -> str:
    """Return ``redis-server 6.2.14``."""
    output = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    versions = [word.removeprefix("v=") for word in output.split() if word.startswith("v=")]
    return " ".join(["redis-server", *versions[:1]])


def _clear_history(redis: Any, lanes: Sequence[str], accounts: Collection[str]) -> None:
    """Delete what is kept of jobs, errors, shutdowns and workers after their end."""
    redis.zrem(RECENT, *lanes)
    for shutdowns in (SHUTDOWNS_OPEN, SHUTDOWNS_ENDED):
        redis.delete(shutdowns)
    for key in redis.scan_iter(f"{TASK_JOBS}*"):
        notes = TaskNote.parse_all("", redis.get(key).decode())
        if notes and all(note.lane.name in lanes for note in notes):
            redis.delete(key)
    redis.delete("", *(key for lane in lanes for key in redis.scan_iter(f"{ANSWERS}{lane}.*")))
    for key in redis.scan_iter(f"{ERROR_COUNTS}*"):
        redis.hdel(key, "", *(field for field in redis.hkeys(key) if field.decode().partition(".")[0] in accounts))
    for event, fields in redis.xrange(EVENTS):
        if fields[b"account"].decode() in accounts or fields[b"by"].startswith(b"worker-"):
            redis.xdel(EVENTS, event)
    if redis.xlen(EVENTS) == 0:
        redis.delete(EVENTS)
