"""Serving: finds the account that a command is called with."""

import asyncio

from streamstop._core.commands import ReceivedCommand
from streamstop._core.lane import Lane
from streamstop._redis.accounts import KnownAccounts
from streamstop.errors import InvalidCommand, UnknownAccount
from streamstop_worker.accounts import Account, Accounts


class AccountWithoutWorker(InvalidCommand):
    """No running worker has the account. A worker that has it may be starting."""


async def find_account(
    command: ReceivedCommand, lane: Lane, accounts: Accounts, known_accounts: KnownAccounts
) -> Account | None:
    """Return the account of `command`; None if another worker has it. Raises InvalidCommand if none can serve it."""
    if command.lane != lane:
        raise InvalidCommand(f"the command is for lane {command.lane.name}, and came through {lane.name}")
    account = accounts.get(lane.account)
    if account is None:
        try:
            known = await asyncio.to_thread(known_accounts.vendor_of, lane.account)
        except UnknownAccount as problem:
            raise AccountWithoutWorker(str(problem)) from None
        if known is None:
            raise AccountWithoutWorker(f"no running worker has account {lane.account!r}")
        return None
    vendor = command.operation.spec.product.vendor.name
    if account.vendor != vendor:
        raise UnknownAccount(f"account {account.name!r} is at {account.vendor}, not at {vendor}")
    return account
