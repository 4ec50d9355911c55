"""Pacing: builds the book that tells Redis each lane's pace: the account's own limit, or else the vendor's."""

from streamstop._core.lane import Lane
from streamstop._core.pace import Pace
from streamstop._redis.rooms import CALLBACKS, CONTROL, CONTROL_PACE
from streamstop._redis.schedule import Book
from streamstop.operations import OPERATIONS
from streamstop_worker.accounts import Accounts

#: For lanes of operations that this version does not know. Their jobs are not called.
_UNKNOWN_LIMIT = 10.0


def book_of(accounts: Accounts) -> Book:
    """Return the accounts, operations and paces that a worker with `accounts` knows."""
    known = [account for name in accounts.names if (account := accounts.get(name)) is not None]
    return Book(
        accounts={account.name: account.vendor for account in known} | {CONTROL.account: ""},
        operations={
            CONTROL.operation: CONTROL_PACE,
            CALLBACKS.operation: CONTROL_PACE,
            **{name: Pace.of_limit(declared.spec.limit) for name, declared in OPERATIONS.items()},
        },
        otherwise=Pace.of_limit(_UNKNOWN_LIMIT),
        lanes={
            Lane(account.name, operation): Pace.of_limit(limit)
            for account in known
            for operation, limit in account.limits.items()
        },
    )
