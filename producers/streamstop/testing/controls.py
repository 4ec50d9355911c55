"""Recorded controls: the pauses, limits and holds of a :class:`~streamstop.testing.RecordingClient`."""

from datetime import UTC, datetime

from streamstop._core.controls import Controls, Limit, Pause, has_ended
from streamstop._core.lane import Lane


class RecordedControls:
    """See :class:`~streamstop._core.controls.ControlBackend`. They are recorded, and hold no job back."""

    def __init__(self) -> None:
        self._pauses: dict[str, Pause] = {}
        self._limits: dict[Lane, Limit] = {}

    def read(self) -> Controls:
        """Return every control that has not ended."""
        now = datetime.now(UTC)
        return Controls(
            {scope: pause for scope, pause in self._pauses.items() if not has_ended(pause, now)},
            {lane: limit for lane, limit in self._limits.items() if not has_ended(limit, now)},
            {},
        )

    def pause(self, pause: Pause) -> None:
        """Pause a scope."""
        self._pauses[pause.scope] = pause

    def resume(self, scope: str, by: str) -> bool:  # noqa: ARG002  # as the protocol has it
        """End the pause of `scope`; return whether there was one."""
        was_paused = scope in self.read().pauses
        self._pauses.pop(scope, None)
        return was_paused

    def set_limit(self, limit: Limit) -> None:
        """Override the limit of a lane."""
        self._limits[limit.lane] = limit

    def clear_limit(self, lane: Lane, by: str) -> bool:  # noqa: ARG002  # as the protocol has it
        """End the override of a lane's limit; return whether there was one."""
        was_limited = lane in self.read().limits
        self._limits.pop(lane, None)
        return was_limited
