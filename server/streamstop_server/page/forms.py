"""Forms: what people type, as values. A value that cannot be one is refused with the field's name."""

from collections.abc import Mapping

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


def seconds(fields: Mapping[str, str], name: str) -> float | None:
    """Return a field with a number of seconds; None if it is empty."""
    text = fields.get(name, "").strip()
    return None if not text else _number(text, name)


def number(fields: Mapping[str, str], name: str) -> float:
    """Return a field with a number."""
    return _number(fields.get(name, "").strip(), name)


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Problem(422, "invalid-value", f"{name} must be a number", field=name) from None
