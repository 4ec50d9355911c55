"""Server-sent events, as a client reads them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class ServerEvent:
    """One event; a comment alone is an event of the type ``comment``."""

    type: str = "message"
    id: str | None = None
    data: Any = None
    retry: int | None = None


def events(response: httpx.Response, *, pings: bool = False) -> Iterator[ServerEvent]:
    """Yield what a stream sends, until it ends.

    Comments are left out: `open`, and those that keep a silent stream alive unless `pings` is set.
    """
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        event, fields = _event(fields), {}
        if event.type != "comment" or (pings and event.data != "open"):
            yield event


def _event(fields: dict[str, str]) -> ServerEvent:
    if set(fields) == {""}:
        return ServerEvent("comment", data=fields[""])
    return ServerEvent(
        type=fields.get("event", "message"),
        id=fields.get("id"),
        data=json.loads(fields["data"]) if "data" in fields else None,
        retry=int(fields["retry"]) if "retry" in fields else None,
    )
