"""Scopes of pauses: whether a caller may touch and see them."""

from streamstop._core.controls import check_scope, scope_has_account
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


def is_seen(caller: Caller, scope: str) -> bool:
    """Return whether `caller` sees a pause: it applies to an account that the caller may touch."""
    return not scope_has_account(scope) or caller.may_touch(Lane.from_name(scope).account)
