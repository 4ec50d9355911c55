"""Coverage: whether a token covers every account of a room or of a shutdown."""

from collections.abc import Iterable

from streamstop import AsyncClient, Command, Progress
from streamstop_server.auth import check_account
from streamstop_server.tokens import Caller


def check_commands(caller: Caller, commands: Iterable[Command]) -> None:
    """Refuse commands of an account that the token does not cover."""
    for account in dict.fromkeys(command.account for command in commands):
        check_account(caller, account)


def covers(caller: Caller, progress: Progress) -> bool:
    """Return whether the token covers every account that the shutdown has reached."""
    return all(caller.may_touch(lane.account) for lane in progress.lanes)


def check_progress(caller: Caller, progress: Progress) -> None:
    """Refuse a shutdown with an account that the token does not cover."""
    for lane in progress.lanes:
        check_account(caller, lane.account)


async def check_room(caller: Caller, queue: AsyncClient, room: str) -> None:
    """Refuse a room with a registered stream task of an account that the token does not cover."""
    if caller.accounts is None:
        return  # it costs a look at every task
    for account in sorted(await queue.room_accounts(room)):
        check_account(caller, account)
