"""Fleet: the workers of a queue in Redis, for a client."""

from collections.abc import Mapping
from typing import Any

from streamstop._core.findings import ServerFacts
from streamstop._core.workers import WorkerView
from streamstop._redis.connections import Connections
from streamstop._redis.server_facts import read_facts, read_info
from streamstop._redis.workers import Workers


class RedisFleet:
    """See :class:`~streamstop._core.backend.FleetBackend`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def workers(self) -> list[WorkerView]:
        """See :meth:`streamstop._redis.workers.Workers.views`."""
        return Workers(self._connections.redis).views()

    def server_info(self) -> Mapping[str, Any]:
        """See :func:`streamstop._redis.server_facts.read_info`."""
        return read_info(self._connections.redis, {}) or {}

    def server_facts(self) -> ServerFacts:
        """See :func:`streamstop._redis.server_facts.read_facts`."""
        return read_facts(self._connections.redis, replicas_wanted=self._connections.settings.replicas)
