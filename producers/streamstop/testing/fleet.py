"""Recorded fleet: the workers of a :class:`~streamstop.testing.RecordingClient`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from streamstop._core.findings import ServerFacts
from streamstop._core.workers import WorkerState, WorkerView


class RecordedFleet:
    """See :class:`~streamstop._core.backend.FleetBackend`."""

    def __init__(self, accounts: Mapping[str, str]) -> None:
        self._accounts = accounts
        self._since = datetime.now(UTC)
        self._workers: Sequence[WorkerView] | None = None

    def set_workers(self, workers: Iterable[WorkerView]) -> None:
        """Set the workers."""
        self._workers = sorted(workers, key=lambda worker: worker.name)

    def workers(self) -> list[WorkerView]:
        """Return the workers that the test has set; else one that has all accounts, if there are any."""
        if self._workers is not None:
            return list(self._workers)
        return [self._only_worker()] if self._accounts else []

    def server_info(self) -> Mapping[str, Any]:
        """Return the INFO of a server that is well."""
        return {"redis_version": "8.0.0", "aof_enabled": 1, "used_memory": 1, "maxmemory": 0, "evicted_keys": 0}

    def server_facts(self) -> ServerFacts:
        """Return the facts about a server that is well."""
        return ServerFacts(info=self.server_info(), config={}, slow=[], now=datetime.now(UTC))

    def _only_worker(self) -> WorkerView:
        return WorkerView(
            name="worker@localhost",
            host="localhost",
            pid=1,
            version="0",
            state=WorkerState.RUNNING,
            accounts=tuple(sorted(self._accounts)),
            slots=256,
            busy=0,
            since=self._since,
            seen=datetime.now(UTC),
            silent=0.0,
        )
