"""logfmt: a log line as ``key=value``, for the lines of workers and of the HTTP service."""

import json
from collections.abc import Mapping

_FIRST = ("timestamp", "level", "event")


def logfmt_line(fields: Mapping[str, object]) -> str:
    """Return a line of ``key=value``. A value with a space, a quote, a backslash or a control character is quoted."""
    first = {name: fields[name] for name in _FIRST if name in fields}
    return " ".join(f"{_key(name)}={_value(value)}" for name, value in {**first, **fields}.items())


def _key(name: str) -> str:
    return "".join(char if char.isprintable() and char not in ' ="' else "_" for char in name)


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    plain = text and text.isprintable() and not set(' ="\\') & set(text)
    return text if plain else json.dumps(text, ensure_ascii=False)
