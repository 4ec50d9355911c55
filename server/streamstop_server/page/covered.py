"""Covered: the shutdowns whose accounts a viewer's token covers."""

from streamstop import AsyncClient, Progress, UnknownShutdown
from streamstop_server.auth import check_account, check_all_accounts
from streamstop_server.tokens import Caller


async def progress_of(viewer: Caller, queue: AsyncClient, shutdown_id: str) -> Progress | None:
    """Return the progress of a shutdown; None if it is gone, or if not all of its accounts are the viewer's."""
    try:
        progress = await queue.shutdown(shutdown_id).progress()
    except UnknownShutdown:
        return None
    is_covered = progress.lanes and all(viewer.may_touch(lane.account) for lane in progress.lanes)
    return progress if viewer.accounts is None or is_covered else None


async def progress_for(viewer: Caller, queue: AsyncClient, shutdown_id: str) -> Progress:
    """Return the progress of a shutdown; refuse a viewer whose token does not cover all of its accounts."""
    progress = await queue.shutdown(shutdown_id).progress()
    for account in sorted({lane.account for lane in progress.lanes}):
        check_account(viewer, account)
    if not progress.lanes:
        check_all_accounts(viewer, "a shutdown whose accounts are not known yet")
    return progress
