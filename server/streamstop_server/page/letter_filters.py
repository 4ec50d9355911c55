"""Letter filters: which dead letters a person asks for, as the query of a path and as fields of a form."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import urlencode

from streamstop import Matching, Result
from streamstop_server.access.tokens import Caller
from streamstop_server.http.problems import Problem
from streamstop_server.page.forms import seconds

#: A result of no job: a message that no worker could read.
UNREADABLE = "unreadable"
RESULTS = (*(result.value for result in Result if result.needs_person), UNREADABLE)
#: Ages that the form offers, in seconds.
AGES: Mapping[str, str] = {"": "any", "600": "10 min", "3600": "1 h", "14400": "4 h", "86400": "1 d", "604800": "7 d"}
_TEXTS = ("account", "operation", "code", "room")
_AGES = ("older_than", "younger_than")
NAMES = (*_TEXTS, "result", *_AGES)
_OLDEST = timedelta(days=3650)


def filters_of(given: Mapping[str, str]) -> Mapping[str, str]:
    """Return the filters in a query or a form; those that are empty are left out."""
    return {name: text for name in NAMES if (text := given.get(name, "").strip())}


def query_of(filters: Mapping[str, str], **more: str) -> str:
    """Return the path of the screen with these filters."""
    query = urlencode({**filters, **{name: value for name, value in more.items() if value}})
    return f"/dead-letters?{query}" if query else "/dead-letters"


def matching_of(viewer: Caller, filters: Mapping[str, str], *, died_by: datetime | None = None) -> Matching:
    """Return what filters ask for, within the viewer's accounts; with `died_by`, only letters that had died by then."""
    result = filters.get("result")
    if result is not None and result not in RESULTS:
        raise Problem(422, "invalid-value", f"result must be one of {', '.join(RESULTS)}", field="result")
    ages = {name: _age(filters, name) for name in _AGES}
    return Matching(
        account=filters.get("account"),
        operation=filters.get("operation"),
        code=filters.get("code"),
        room=filters.get("room"),
        accounts=viewer.accounts,
        result=None if result in {None, UNREADABLE} else Result(result),
        readable=False if result == UNREADABLE else None,
        older_than=ages["older_than"],
        younger_than=ages["younger_than"],
        died_by=died_by,
    )


def _age(filters: Mapping[str, str], name: str) -> timedelta | None:
    age = seconds(filters, name)
    if age is None:
        return None
    if not 0 < age <= _OLDEST.total_seconds():
        raise Problem(422, "invalid-value", f"{name} must be a positive number of seconds", field=name)
    return timedelta(seconds=age)
