"""Scopes of pauses: whether a caller may touch them, and which controls it sees."""

from streamstop._core.controls import Controls, check_scope, scope_has_account
from streamstop._core.lane import Lane
from streamstop_server.access.auth import check_account, check_all_accounts
from streamstop_server.access.tokens import Caller


def check_scope_of(caller: Caller, scope: str) -> str:
    """Return a pause's scope that `caller` may touch; refuse one of a foreign account, or of all accounts."""
    scope = check_scope(scope)
    if scope_has_account(scope):
        check_account(caller, Lane.from_name(scope).account)
    else:
        check_all_accounts(caller, f"the scope {scope}")
    return scope


def seen_controls(caller: Caller, controls: Controls) -> Controls:
    """Return the controls that apply to an account that `caller` may touch."""
    return Controls(
        {
            scope: pause
            for scope, pause in controls.pauses.items()
            if not scope_has_account(scope) or caller.may_touch(Lane.from_name(scope).account)
        },
        {lane: limit for lane, limit in controls.limits.items() if caller.may_touch(lane.account)},
        {account: hold for account, hold in controls.holds.items() if caller.may_touch(account)},
    )
