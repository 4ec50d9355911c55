"""Controls: reads and writes pauses, limits and holds in Redis."""

from datetime import UTC, datetime
from typing import Any

from redis import Redis

from streamstop._core.constants import CONTROLS
from streamstop._core.controls import Controls


class ControlStore:
    """The hash of controls. Raises redis-py's errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not

    def read(self) -> Controls:
        """Return every control, in one round trip."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.hgetall(CONTROLS)
        (seconds, microseconds), fields = pipeline.execute()
        now = datetime.fromtimestamp(seconds + microseconds / 1_000_000, UTC)
        return Controls.parse({field.decode(): text.decode() for field, text in fields.items()}, now)
