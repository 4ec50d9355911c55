"""Authentication: who makes a request, and whether the caller may.

The API takes a bearer token (RFC 6750), the page a cookie with a signed session. A route names the scope that it
needs: ``Annotated[Caller, Security(caller, scopes=["read"])]``.
"""

import hashlib
import hmac
import time
from typing import Annotated

import structlog
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from starlette.requests import HTTPConnection

from streamstop._core.loopback import is_loopback
from streamstop.errors import InvalidSettings
from streamstop_server.access.tokens import EVERYBODY, Caller, Scope, Tokens
from streamstop_server.http.problems import Problem
from streamstop_server.settings import ServerSettings

_log = structlog.get_logger("streamstop.server")
_REALM = 'Bearer realm="streamstop"'
#: How long somebody stays signed in.
SESSION_S = 12 * 3600
#: How often, at most, the tokens file is looked at.
_LOOK_EVERY_S = 1.0

bearer = HTTPBearer(auto_error=False, description="A token of the tokens file; `streamstop token new` makes one.")


class Authenticator:
    """Knows the tokens, and signs sessions."""

    def __init__(self, settings: ServerSettings) -> None:
        self._secret = settings.secret.encode()
        self.tokens = None if settings.tokens is None else Tokens(settings.tokens)
        self._looked_at = time.monotonic()

    def refresh(self, *, now: bool = False) -> None:
        """Read the tokens file again if it has changed. If it has a mistake, the tokens stay, and a line says so."""
        if self.tokens is None or (not now and time.monotonic() - self._looked_at < _LOOK_EVERY_S):
            return
        self._looked_at = time.monotonic()
        if not now and not self.tokens.is_stale:
            return
        try:
            self.tokens.reload()
        except InvalidSettings as mistake:
            _log.error("tokens not loaded", reason=str(mistake))
        else:
            _log.info("tokens loaded", file=str(self.tokens.path))

    def of_token(self, token: str) -> Caller | None:
        """Return whose token this is."""
        self.refresh()
        return EVERYBODY if self.tokens is None else self.tokens.caller_of(token)

    def knows(self, caller: Caller) -> bool:
        """Return whether `caller` may still do what it could when its request came."""
        self.refresh()
        return self.tokens is None or self.tokens.knows(caller)

    def session(self, caller: Caller) -> str:
        """Return a session of `caller`: its name, its end, and a signature that only the token's hash can make."""
        ends = int(time.time()) + SESSION_S
        return f"{caller.name}:{ends}:{self._sign(caller.name, ends)}"

    def of_session(self, session: str) -> Caller | None:
        """Return whose session this is; None: nobody's, or it is over, or the token is no longer in the file."""
        self.refresh()
        name, _, rest = session.partition(":")
        text, _, signature = rest.partition(":")
        if self.tokens is None or not text.isascii() or not text.isdigit() or int(text[:12]) < time.time():
            return None
        found = self.tokens.named(name)
        is_right = hmac.compare_digest(self._sign(name, int(text[:12])), signature.encode(errors="replace").decode())
        return found[1] if found and is_right else None

    def _sign(self, name: str, ends: int) -> str:
        """Sign with the token's hash too, so that a session ends with its token."""
        found = self.tokens.named(name) if self.tokens else None
        text = f"{name}:{ends}:{found[0] if found else ''}"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def authenticator(connection: HTTPConnection) -> Authenticator:
    """Return the authenticator of the application."""
    found: Authenticator = connection.app.state.authenticator
    return found


def check_token(connection: HTTPConnection, token: str) -> Caller:
    """Return whose token this is; refuse an unknown one, and none (401)."""
    if not token:
        raise Problem(401, "unauthorized", "a bearer token is required", headers={"WWW-Authenticate": _REALM})
    found = authenticator(connection).of_token(token)
    if found is None:
        challenge = f'{_REALM}, error="invalid_token"'
        raise Problem(401, "unauthorized", "the token is not known", headers={"WWW-Authenticate": challenge})
    return found


async def caller(  # asynchronous, as every dependency here: FastAPI runs others in a thread
    request: Request,
    needed: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Caller:
    """Return who calls the API; refuse whoever has no valid token (401), or not all of the scopes (403)."""
    known = authenticator(request)
    if known.tokens is None:
        check_loopback(request)
        _check_site(request)
        found = EVERYBODY
    else:
        found = check_token(request, credentials.credentials if credentials else "")
    request.state.caller = found
    check_scopes(found, needed.scopes)
    return found


def check_scopes(found: Caller, scopes: list[str]) -> None:
    """Refuse a caller without all of the scopes."""
    for scope in scopes:
        if scope not in found.scopes:
            challenge = f'{_REALM}, error="insufficient_scope", scope="{scope}"'
            raise Problem(
                403,
                "forbidden",
                f"the token {found.name} lacks the scope {scope}",
                headers={"WWW-Authenticate": challenge},
            )


def check_account(found: Caller, account: str) -> None:
    """Refuse a caller whose token does not cover `account`."""
    if not found.may_touch(account):
        raise Problem(403, "forbidden", f"the token {found.name} does not cover the account {account}", field="account")


def check_all_accounts(found: Caller, what: str) -> None:
    """Refuse a caller whose token is for certain accounts only."""
    if found.accounts is not None:
        raise Problem(403, "forbidden", f"{what} touches all accounts, and the token {found.name} covers only some")


def check_loopback(request: Request) -> None:
    """Refuse a request that a page of another site may have made: its name for this machine is none of ours."""
    host = request.url.hostname or ""
    if not is_loopback(host):
        raise Problem(403, "forbidden", "without a tokens file the service answers for localhost alone")


def _check_site(request: Request) -> None:
    """Refuse an act of a page of another site, which needs no token here. Programs send no such header."""
    if request.method == "GET" or request.headers.get("sec-fetch-site", "none") in {"none", "same-origin"}:
        return
    if request.headers.get("origin") not in request.app.state.settings.origins:
        raise Problem(403, "cross-site", "only pages of the service and of STREAMSTOP_SERVER_ORIGINS may do this")


#: Who calls, and may enqueue, read or operate.
Enqueuer = Annotated[Caller, Security(caller, scopes=[Scope.ENQUEUE])]
Reader = Annotated[Caller, Security(caller, scopes=[Scope.READ])]
Operator = Annotated[Caller, Security(caller, scopes=[Scope.OPERATE])]
