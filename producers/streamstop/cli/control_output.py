"""What the command line prints about pauses, limits and holds: tables and JSON, without I/O."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime

from streamstop._core.controls import Hold, Limit, Pause
from streamstop.cli._shared.output import aligned, clip, moment_text, printable

_WIDTH = 80


def control_json(control: Pause | Limit | Hold) -> str:
    """Return a control as one line of ASCII JSON; ``kind`` is pause, limit or hold."""
    return json.dumps({"kind": type(control).__name__.lower(), **control.model_dump(mode="json")})


def pauses_table(pauses: Sequence[Pause]) -> Iterator[str]:
    """Yield an aligned line for each pause, below a header, and its reason on a line of its own."""
    rows = [(pause.scope, _until(pause.until), pause.by) for pause in pauses]
    yield from _with_reasons(("PAUSED", "UNTIL", "BY"), rows, [pause.reason for pause in pauses])


def limits_table(limits: Sequence[Limit]) -> Iterator[str]:
    """Yield an aligned line for each limit, below a header, and its reason on a line of its own."""
    rows = [(f"{limit.limit:g}/s", limit.lane.name, _until(limit.until), limit.by) for limit in limits]
    yield from _with_reasons(("LIMIT", "LANE", "UNTIL", "BY"), rows, [limit.reason for limit in limits])


def holds_table(holds: Sequence[Hold]) -> Iterator[str]:
    """Yield an aligned line for each hold, below a header, and the vendor's answer on a line of its own."""
    rows = [(hold.account, moment_text(hold.at), hold.operation) for hold in holds]
    answers = [": ".join(part for part in (hold.code, hold.message) if part) for hold in holds]
    yield from _with_reasons(("HELD", "SINCE", "KEY REFUSED BY"), rows, answers)


def _with_reasons(header: Sequence[str], rows: Sequence[Sequence[str]], reasons: Sequence[str]) -> Iterator[str]:
    if not rows:
        return
    first, *lines = aligned([header, *rows])
    yield first
    for line, reason in zip(lines, reasons, strict=True):
        yield line
        if reason:
            yield f"  {clip(printable(reason), _WIDTH - 2)}"


def _until(moment: datetime | None) -> str:
    return "-" if moment is None else moment_text(moment)
