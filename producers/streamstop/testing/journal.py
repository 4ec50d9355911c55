"""Recorded journal: the events and error counts of a :class:`~streamstop.testing.RecordingClient`."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from streamstop._core.journal import ErrorCount, Event, EventKind, event_order, sorted_counts
from streamstop.outcomes import Outcome


class RecordedJournal:
    """See :class:`~streamstop._core.backend.JournalBackend`. Jobs that end with a vendor's error are counted."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._failures: list[tuple[datetime, Outcome]] = []

    def add(
        self,
        kind: EventKind,
        text: str,
        *,
        account: str | None = None,
        operation: str | None = None,
        by: str | None = None,
    ) -> None:
        """Add an event."""
        now = datetime.now(UTC)
        event_id = f"{int(now.timestamp() * 1000)}-{len(self._events)}"
        event = Event(id=event_id, at=now, kind=kind, account=account, operation=operation, by=by, text=text)
        self._events.append(event)

    def count(self, outcome: Outcome) -> None:
        """Count the vendor's error with which a job has ended, if any."""
        if outcome.code is not None and not outcome.ok:
            self._failures.append((outcome.ended_at or datetime.now(UTC), outcome))

    def events(self, *, since: timedelta | None = None, after: str | None = None) -> Iterator[Event]:
        """Yield the events that are younger than `since` and later than the event `after`, oldest first."""
        now = datetime.now(UTC)
        for event in list(self._events):
            is_later = after is None or event_order(event.id) > event_order(after)
            if is_later and (since is None or now - event.at <= since):
                yield event

    def newest(self) -> str:
        """Return the id of the newest event."""
        return self._events[-1].id if self._events else "0-0"

    def errors(self, *, since: timedelta) -> list[ErrorCount]:
        """Return the error counts of the last `since`, the most first."""
        now = datetime.now(UTC)
        young = [(at, outcome) for at, outcome in self._failures if now - at <= since]
        counts = Counter(_kind(outcome) for _, outcome in young)
        newest = {_kind(outcome): (at, outcome) for at, outcome in young}
        return sorted_counts(
            ErrorCount(
                account=outcome.account,
                operation=outcome.operation,
                code=outcome.code or "",
                count=counts[kind],
                at=at,
                message=outcome.message,
                request_id=outcome.request_id,
            )
            for kind, (at, outcome) in newest.items()
        )


def _kind(outcome: Outcome) -> tuple[str, str, str | None]:
    return outcome.account, outcome.operation, outcome.code
