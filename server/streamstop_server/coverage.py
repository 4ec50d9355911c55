"""Coverage: whether a token covers every account of a room or of a shutdown."""

from collections.abc import Iterable

from streamstop import AsyncClient, AsyncShutdown, Command, Progress, ShutdownStatus, UnknownShutdown
from streamstop_server.auth import check_account
from streamstop_server.problems import Problem
from streamstop_server.tokens import Caller


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


def _check_all(caller: Caller, accounts: Iterable[str], what: str) -> None:
    """Refuse the caller without the names of the other accounts."""
    if not all(map(caller.may_touch, accounts)):
        raise Problem(403, "forbidden", f"the token {caller.name} does not cover every account of {what}")


async def covered_progress(caller: Caller, shutdown: AsyncShutdown) -> Progress | None:
    """Return the progress; None if the token does not cover it, or if its record has gone meanwhile."""
    try:
        progress = await shutdown.progress()
        await check_shutdown(caller, shutdown, progress)
    except (UnknownShutdown, Problem):
        return None
    return progress
