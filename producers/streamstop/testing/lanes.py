"""Recorded lanes: the lanes of a :class:`~streamstop.testing.RecordingClient`. Every open job waits."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from streamstop._core.commands import Command
from streamstop._core.lane import Lane
from streamstop._core.lane_view import LaneView


class RecordedLanes:
    """See :class:`~streamstop._core.lane_backend.LaneBackend`."""

    def __init__(self, open_commands: Callable[[], Iterable[tuple[str, Command, datetime]]]) -> None:
        self._open_commands = open_commands

    def holding(self) -> Collection[Lane]:
        """Return the lanes with open jobs."""
        return {command.lane for _, command, _ in self._open_commands()}

    def recent(self, within: timedelta) -> Collection[Lane]:  # noqa: ARG002
        """Return no lane: no worker makes a call."""
        return ()

    def views(self, lanes: Sequence[Lane]) -> list[LaneView]:
        """Return the views of `lanes`, with their open jobs."""
        moments: dict[Lane, list[datetime]] = {}
        for _, command, enqueued_at in self._open_commands():
            moments.setdefault(command.lane, []).append(enqueued_at)
        now = datetime.now(UTC)
        return [
            LaneView(
                account=lane.account,
                operation=lane.operation,
                at=now,
                waiting=len(moments.get(lane, ())),
                oldest_waiting_at=min(moments.get(lane, ()), default=None),
            )
            for lane in lanes
        ]
