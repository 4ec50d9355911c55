"""The shell: who looks at a screen, whether they may act, and how a screen becomes HTML.

Values are escaped by the templates. A screen is a template that extends ``base.html``. A part of a screen that changes
is a template of its own, which the browser asks for again (``hx-get``) when a feed says that something has changed.
"""

import getpass
import json
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from streamstop import LaneProgress, Progress, __version__
from streamstop._core.durations import duration_text
from streamstop_server.access.auth import authenticator, check_loopback, check_scopes
from streamstop_server.access.tokens import EVERYBODY, Caller, Scope
from streamstop_server.http.problems import Problem
from streamstop_server.page import assets

#: The cookie with the session. Over https it has the prefix that binds it to the host.
COOKIE = "streamstop_session"
_NOT_PAGES = ("/v1/", "/openapi.json", "/metrics", "/healthz", "/readyz", "/static/", "/live/")
_SAFE = {"GET", "HEAD", "OPTIONS"}

_templates = Environment(
    loader=PackageLoader("streamstop_server.page"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,  # an upgrade must not mix its templates with the code that runs
    trim_blocks=True,
    lstrip_blocks=True,
)


def cookie_name(request: Request) -> str:
    """Return the name of the session's cookie."""
    return f"__Host-{COOKIE}" if request.url.scheme == "https" else COOKIE


async def viewer(request: Request) -> Caller:
    """Return who looks at a screen; send whoever is not signed in to the sign-in. Reading needs the scope ``read``."""
    known = authenticator(request)
    found = EVERYBODY
    if known.tokens is None:
        check_loopback(request)
    else:
        session = known.of_session(request.cookies.get(cookie_name(request), ""))
        if session is None:
            raise Problem(401, "unauthorized", "sign in first")
        found = session
    request.state.caller = found
    if request.method not in _SAFE:
        check_same_origin(request)
        check_scopes(found, [Scope.OPERATE])
    check_scopes(found, [Scope.READ])
    return found


def check_same_origin(request: Request) -> None:
    """Refuse a request that a page of another site makes, or that no browser says to be from ours."""
    if request.headers.get("sec-fetch-site") != "same-origin":
        raise Problem(403, "cross-site", "only the page itself may do this (Sec-Fetch-Site: same-origin)")


#: Who looks at a screen, as a parameter of its route. In a route with an unsafe method: who acts, with ``operate``.
Viewer = Annotated[Caller, Depends(viewer)]


def actor_name(caller: Caller) -> str:
    """Return who acts, as events have it: the token's name, or on loopback the user of the service's process."""
    return f"{getpass.getuser()} (page)" if caller is EVERYBODY else caller.name


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a template as HTML. Templates know `viewer`, `can_operate`, `path`, `query` and the filters below."""
    found: Caller | None = getattr(request.state, "caller", None)
    text = _templates.get_template(template).render(
        viewer=found,
        can_operate=found is not None and Scope.OPERATE in found.scopes,
        is_signed_in=found is not None and found is not EVERYBODY,
        path=request.url.path,
        query=str(request.url.query),
        **values,
    )
    return HTMLResponse(text, status_code=status)


def wants_fragment(request: Request) -> bool:
    """Return whether htmx asks for a part of the screen."""
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-boosted") != "true"


def go_to(request: Request, path: str) -> Response:
    """Return the answer after an act: see `path`. `path` is one of the service's own."""
    answer = RedirectResponse(path, status_code=303)
    if request.headers.get("hx-request") == "true":  # percent-encoded in the same way, for headers are ASCII
        return Response(status_code=204, headers={"HX-Redirect": answer.headers["location"]})
    return answer


def error_page(request: Request, problem: Problem) -> Response | None:
    """Return a problem as a screen; None where no person looks. Without a session, GET leads to the sign-in."""
    path = request.url.path
    is_for_people = wants_fragment(request) or "text/html" in request.headers.get("accept", "")
    if path.startswith(_NOT_PAGES) or not is_for_people:
        return None
    if problem.status == HTTPStatus.UNAUTHORIZED and request.method in _SAFE:
        back = request.scope["raw_path"].decode("latin-1") + (f"?{request.url.query}" if request.url.query else "")
        sign_in = f"/sign-in?next={quote(back, safe='/')}"
        if wants_fragment(request):  # the whole screen is left, not a part of it
            return Response(status_code=401, headers={"HX-Redirect": sign_in})
        return RedirectResponse(sign_in, status_code=303)
    if wants_fragment(request):
        answer = render(request, "problem_fragment.html", status=problem.status, problem=problem)
    else:
        answer = render(request, "problem.html", status=problem.status, problem=problem)
    answer.headers.update(problem.headers)
    return answer


# ---- filters: how values are shown


def moment(value: datetime | None) -> str:
    """Return a moment in UTC, to the second: ``2026-01-01 12:00:00``; nothing for None."""
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def age(value: datetime | None) -> str:
    """Return how long ago a moment was: ``3 min``; nothing for None."""
    return "" if value is None else span(max(timedelta(0), datetime.now(UTC) - value))


def until(value: datetime | None) -> str:
    """Return how long it is until a moment: ``3 min``; nothing for None, and for a moment that is over."""
    left = timedelta(0) if value is None else value - datetime.now(UTC)
    return span(left) if left > timedelta(0) else ""


def span(value: timedelta | float | None) -> str:
    """Return a duration in words: ``2 min``; nothing for None."""
    if value is None:
        return ""
    return duration_text(value if isinstance(value, timedelta) else timedelta(seconds=value))


def took(value: timedelta | float) -> str:
    """Return a measured duration: ``0.018 s``, ``1.25 s``, ``2 min``."""
    seconds = max(0.0, value.total_seconds() if isinstance(value, timedelta) else value)
    return f"{round(seconds, 3):g} s" if seconds < 10 else duration_text(seconds)


def rate(value: float | None) -> str:
    """Return calls per second with two digits or more: ``8.2``, ``120``; nothing for None."""
    return "" if value is None else f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.2g}"


def number(value: float | None) -> str:
    """Return a number with thin separators: ``12,345``; nothing for None."""
    return "" if value is None else f"{value:,.10g}" if isinstance(value, float) else f"{value:,}"


def time_left(value: Progress | LaneProgress) -> str:
    """Return the expected time until a shutdown, or its share of a lane, has ended."""
    if value.seconds_left is None:
        return "not known"
    return f"about {span(value.seconds_left)}" if value.seconds_left else ""


def job_path(job_id: str) -> str:
    """Return the path of a job's screen."""
    return f"/jobs/{quote(job_id, safe='')}"


def lane_path(account: str, operation: str) -> str:
    """Return the path of a lane's screen."""
    return f"/lanes/{quote(account, safe='')}/{quote(operation, safe='')}"


def room_path(room: str, **query: str | None) -> str:
    """Return the path of a room's screen. Browsers leave out the segments ``.`` and ``..``."""
    asked = {name: value for name, value in query.items() if value}
    if room in {".", ".."}:
        return f"/rooms?{urlencode({'room': room, **asked})}"
    return f"/rooms/{quote(room, safe='')}" + (f"?{urlencode(asked)}" if asked else "")


def as_json(value: object) -> str:
    """Return a value as JSON on several lines."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


_templates.filters.update(
    json=as_json,
    moment=moment,
    age=age,
    until=until,
    span=span,
    number=number,
    rate=rate,
    time_left=time_left,
    took=took,
    job_path=job_path,
    room_path=room_path,
    segment=lambda text: quote(str(text), safe=""),
)
_templates.globals.update(asset=assets.url, lane_path=lane_path, version=__version__)
