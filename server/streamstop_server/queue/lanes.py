"""Lanes: what the API and the page ask of the queue in the same way."""

from streamstop import AsyncClient, Drained, InvalidCommand, Lane, LaneView
from streamstop._core.commands import check_account as check_account_name
from streamstop.operations import OPERATIONS
from streamstop_server.http.problems import Problem


async def view_of(queue: AsyncClient, account: str, operation: str) -> LaneView:
    """Return a lane's view. There is a lane for each operation of a running worker's account, and where jobs are."""
    lane = Lane(account, operation)
    is_declared, is_name = operation in OPERATIONS, True
    try:
        check_account_name(account)
    except InvalidCommand:
        is_name = account.startswith("_")  # of the steps of shutdowns
    if is_name:
        [view] = await queue.lanes([lane])
        vendor = OPERATIONS[operation].spec.product.vendor.name if is_declared else None
        if view.backlog or view.calls or (is_declared and (await queue.accounts()).get(account) == vendor):
            return view
    raise Problem(404, "unknown-lane", "there is no such lane: no running worker has it, and nothing waits in it")


async def drained_of(
    queue: AsyncClient,
    account: str,
    operation: str | None,
    *,
    older_than: float | None,
    room: str | None,
    dry_run: bool,
    by: str,
) -> Drained:
    """Drain, or count. An account that no running worker has and that has no job is refused: it may be mistyped."""
    drained = await queue.drain(account, operation, older_than=older_than, room=room, dry_run=dry_run, by=by)
    if not drained.jobs and account not in await queue.accounts():
        raise Problem(422, "unknown-account", f"no running worker has the account {account}", field="account")
    return drained
