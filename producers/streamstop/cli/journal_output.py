"""What the command line prints about events and vendors' errors: lines and tables, without I/O."""

import textwrap
from collections.abc import Iterator, Sequence

from streamstop._core.journal import ErrorCount, Event, EventKind
from streamstop.cli._shared.output import aligned, clip, counted, join_lines, printable

_ERRORS_HEADER = ("COUNT", "CODE", "ACCOUNT", "OPERATION", "LAST SEEN")
_INDENT = 7
_LONGEST_CODE = 40
#: The width of most kinds. Longer ones make the column of the lines that follow wider.
KIND_WIDTH = 9

#: Events of the worker that `by` names.
_BY_WORKERS = frozenset(
    {EventKind.ACCOUNTS_CHANGED, EventKind.WORKER_STARTED, EventKind.WORKER_STOPPED, EventKind.WORKER_LOST}
)


def event_line(event: Event, width: int | None = None, kind_width: int = KIND_WIDTH) -> str:
    """Return an event: when, what, where, and what happened. It is one line, or lines of `width` columns at most."""
    worker = event.by if event.kind in _BY_WORKERS else None
    where = worker or " ".join(filter(None, (event.account, event.operation)))
    by = f"(by {event.by})" if event.by and event.by != where else ""
    details = "  ".join(filter(None, (where, event.text, by)))
    line = printable(f"{event.at:%m-%d %H:%M:%SZ}  {event.kind.ljust(kind_width)}  {details}")
    if width is None:
        return line
    return join_lines(textwrap.wrap(line, width, subsequent_indent=" " * _INDENT, break_on_hyphens=False))


def errors_table(counts: Sequence[ErrorCount], width: int | None = None) -> Iterator[str]:
    """Yield two lines for each count, cut to `width`: the count, and below it the newest message and request id."""
    rows = [
        (
            f"{count.count:5}",
            clip(count.code, _LONGEST_CODE),
            count.account or "-",
            count.operation or "-",
            f"{count.at:%H:%M:%SZ}",
        )
        for count in counts
    ]
    header, *lines = aligned([_ERRORS_HEADER, *rows])
    yield _fit(header, width)
    for count, line in zip(counts, lines, strict=True):
        yield _fit(line, width)
        request = f"(request {count.request_id})" if count.request_id else ""
        # The request id is never cut: a vendor's support asks for it.
        space = None if width is None else max(20, width - _INDENT - len(request) - 1)
        message = printable(count.message or "")
        newest = " ".join(filter(None, (message if space is None else clip(message, space), printable(request))))
        if newest:
            yield f"{'':{_INDENT}}{newest}"


def errors_total(counts: Sequence[ErrorCount]) -> str:
    """Return how many errors there are in all."""
    return counted(sum(count.count for count in counts), "error")


def _fit(line: str, width: int | None) -> str:
    return line if width is None else clip(line, width)
