"""Coverage: whether a token covers every account of a room or of a shutdown, and that of a job or of an event."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streamstop import (
    AsyncClient,
    AsyncJob,
    AsyncShutdown,
    Command,
    Event,
    JobView,
    Lane,
    Progress,
    ShutdownStatus,
    UnknownShutdown,
)
from streamstop_server.access.auth import check_account
from streamstop_server.access.tokens import Caller
from streamstop_server.http.problems import Problem


def check_commands(caller: Caller, commands: Iterable[Command]) -> None:
    """Refuse commands of an account that the token does not cover."""
    for account in dict.fromkeys(command.account for command in commands):
        check_account(caller, account)


def covers_lanes(caller: Caller, progress: Progress) -> bool:
    """Return whether the token covers every account whose lanes the shutdown has reached."""
    return all(caller.may_touch(lane.account) for lane in progress.lanes)


async def check_shutdown(caller: Caller, shutdown: AsyncShutdown, progress: Progress) -> None:
    """Refuse a shutdown with a stream task of an account that the token does not cover."""
    if caller.accounts is None:
        return  # it can cost a look at every task
    accounts = {lane.account for lane in progress.lanes}
    if progress.status is ShutdownStatus.OPEN or sum(lane.total for lane in progress.lanes) < progress.total:
        accounts |= await shutdown.accounts()
    _check_all(caller, accounts, "the shutdown")


async def check_room(caller: Caller, queue: AsyncClient, room: str) -> None:
    """Refuse a room with a registered stream task of an account that the token does not cover."""
    if caller.accounts is None:
        return
    _check_all(caller, await queue.room_accounts(room), "the room")


@dataclass(frozen=True)
class CoveredRoom:
    """What a token may see of a room."""

    name: str
    #: A page of the registered stream tasks of the token's accounts.
    tasks: Sequence[Command]
    #: The cursor of the next page; None after the last.
    next: str | None
    #: How many stream tasks are registered; None: some of them are of other accounts.
    total: int | None
    #: The open or latest shutdown; None: there is none, or it has stream tasks of other accounts.
    shutdown: Progress | None
    #: Whether the room was ever stopped.
    was_stopped: bool


async def covered_room(caller: Caller, queue: AsyncClient, room: str, cursor: str | None, most: int) -> CoveredRoom:
    """Return a page of a room, without the stream tasks that the token does not cover.

    Rooms are shared: services of several accounts register their tasks in one. Each sees its own.
    """
    page = await queue.room_page(room, cursor, most=most)
    is_covered = caller.accounts is None or await queue.room_accounts(room) <= caller.accounts
    return CoveredRoom(
        name=room,
        tasks=[task for task in page.tasks if caller.may_touch(task.account)],
        next=page.next,
        total=page.total if is_covered else None,
        shutdown=None if page.shutdown is None else await covered_progress(caller, queue.shutdown(page.shutdown)),
        was_stopped=page.shutdown is not None,
    )


def _check_all(caller: Caller, accounts: Iterable[str], what: str) -> None:
    """Refuse the caller without the names of the other accounts."""
    if not all(map(caller.may_touch, accounts)):
        raise Problem(
            403, "forbidden", f"the token {caller.name} does not cover every account of {what}", field="account"
        )


def covers_event(caller: Caller, event: Event) -> bool:
    """Return whether the token covers the account that an event names. Only a token for all accounts sees others."""
    return caller.accounts is None or (event.account is not None and caller.may_touch(event.account))


async def known_job(caller: Caller, job: AsyncJob) -> JobView:
    """Return a job. Refuse one of an account that the token does not cover, and an id that no job has."""
    lane = Lane.of_job(job.id)
    if lane is not None:
        check_account(caller, lane.account)
    view = await job.look()
    if view is None:
        raise Problem(404, "unknown-job", f"there is no job {job.id}, or its outcome is no longer kept")
    check_account(caller, view.account)
    return view


async def covered_progress(caller: Caller, shutdown: AsyncShutdown) -> Progress | None:
    """Return the progress; None if the token does not cover it, or if its record has gone meanwhile."""
    try:
        progress = await shutdown.progress()
        await check_shutdown(caller, shutdown, progress)
    except (UnknownShutdown, Problem):
        return None
    return progress
