"""Which pace a lane has: the account's own limit, else the vendor's."""

from streamstop.lanes import Lane, Pace
from streamstop.operations import OPERATIONS
from streamstop.rooms import CALLBACKS, CONTROL, CONTROL_PACE
from streamstop_worker.accounts import Account

#: For lanes of operations that this version does not know; their jobs end as refused.
_UNKNOWN_LIMIT = 10.0


def limit_of(lane: Lane, account: Account | None) -> float:
    """Return the limit of `lane` in calls per second."""
    if account is not None and lane.operation in account.limits:
        return account.limits[lane.operation]
    declaration = OPERATIONS.get(lane.operation)
    return _UNKNOWN_LIMIT if declaration is None else declaration.spec.limit


def pace_of(lane: Lane, account: Account | None) -> Pace:
    """Return the pace of `lane`."""
    if lane in {CALLBACKS, CONTROL}:
        return CONTROL_PACE
    return Pace.of_limit(limit_of(lane, account), of_account=account is not None)
