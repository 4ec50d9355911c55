"""Forms: what people type, as values. A value that cannot be one is refused with the field's name."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qs

from fastapi import Request

from streamstop_server.http.problems import Problem

#: How long a pause or a limit lasts: seconds, as the form sends them, and words.
LASTINGS: Mapping[str, str] = {
    "": "until somebody ends it",
    "600": "10 minutes",
    "1800": "30 minutes",
    "3600": "1 hour",
    "14400": "4 hours",
    "86400": "1 day",
    "604800": "7 days",
}
#: From which age on jobs are drained.
AGES: Mapping[str, str] = {
    "": "of any age",
    "600": "older than 10 minutes",
    "3600": "older than 1 hour",
    "14400": "older than 4 hours",
    "86400": "older than 1 day",
}

#: Browsers read a backslash as a slash, and leave out tabs and line ends.
_OWN_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20]*")


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form: the last value of each."""
    body = await request.body()
    try:
        return {
            name: values[-1]
            for name, values in parse_qs(body.decode(), keep_blank_values=True, max_num_fields=100).items()
        }
    except ValueError:
        raise Problem(400, "invalid-form", "the form cannot be read") from None


def own_path(path: str) -> str:
    """Return a path of this service; whatever else it is, the first screen."""
    return path if _OWN_PATH.fullmatch(path) else "/"


def seconds(fields: Mapping[str, str], name: str) -> float | None:
    """Return a field with a number of seconds; None if it is empty."""
    return number(fields, name) if fields.get(name, "").strip() else None


def number(fields: Mapping[str, str], name: str) -> float:
    """Return a field with a number."""
    try:
        return float(fields.get(name, ""))
    except ValueError:
        raise Problem(422, "invalid-value", f"{name} must be a number", field=name) from None
