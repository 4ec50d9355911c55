"""A Python client of the simulator's control API.

Each method sends its requests on connections of their own, so threads can share a client.
"""

import http.client
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

from streamstop.operations import Operation
from streamstop_simulator.accounts import Account
from streamstop_simulator.faults import Fault, FaultKind
from streamstop_simulator.journal import Call
from streamstop_simulator.simulation import Settings
from streamstop_simulator.tasks import Phase, TaskStart, TaskState

_MILLISECOND = timedelta(milliseconds=1)


class ControlError(Exception):
    """The simulator rejected a control request; the message is the simulator's."""


@dataclass(frozen=True)
class SeenTask:
    """A stream task at the simulated vendor."""

    account: str
    #: The name of the task's family: its status operation, or its stop if it has none.
    family: str
    params: Mapping[str, str | int]
    state: TaskState
    phase: Phase
    #: Seconds since the epoch.
    started_at: float
    #: The operation that stopped it.
    stopped_by: str | None
    #: How many stops the vendor acknowledged.
    stops: int
    ignores_stops: bool


@dataclass(frozen=True)
class LaneSummary:
    """The counts of one lane. Only calls with an accepted signature count."""

    account: str
    operation: str
    #: Calls per second.
    limit: float
    calls: int = 0
    ok: int = 0
    #: Calls answered as over the limit, by the limit or by a fault.
    throttled: int = 0
    #: Calls over the limit.
    over_limit: int = 0
    faults: int = 0
    #: The most calls that arrived in any one second, including those over the limit.
    most_in_a_second: int = 0
    #: Seconds since the epoch.
    first_at: float | None = None
    last_at: float | None = None
    #: How often each answer was given: ``ok``, a vendor's code or a kind of fault.
    answers: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Summary:
    """All counts."""

    lanes: Mapping[tuple[str, str], LaneSummary]
    #: How many calls were rejected with each code before they reached a lane.
    refusals: Mapping[str, int]

    @property
    def calls(self) -> int:
        """How many calls had an accepted signature."""
        return sum(lane.calls for lane in self.lanes.values())

    @property
    def over_limit(self) -> int:
        """How many calls were over their lane's limit."""
        return sum(lane.over_limit for lane in self.lanes.values())


class SimulatorClient:
    """Controls the simulator that runs at `url` (``http://127.0.0.1:8099``).

    The methods raise :class:`ControlError` for a rejected request, and :class:`OSError` if the simulator does not run.
    """

    def __init__(self, url: str, *, timeout: timedelta = timedelta(seconds=30)) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._timeout = timeout.total_seconds()

    def start_tasks(
        self,
        account: str,
        operations: Iterable[Operation],
        *,
        ends_after: timedelta | None = None,
        ignores_stops: bool = False,
        phase: Phase = Phase.RUNNING,
    ) -> None:
        """Start the tasks that `operations` identify, for example by the stops that will stop them."""
        starts = [
            TaskStart(
                account=account,
                operation=operation.spec.id,
                params=operation.params,
                ends_after_ms=None if ends_after is None else ends_after / _MILLISECOND,
                ignores_stops=ignores_stops,
                phase=phase,
            )
            for operation in operations
        ]
        self._send("POST", "tasks", [start.model_dump(mode="json") for start in starts])

    def tasks(self, account: str | None = None, state: TaskState | None = None) -> list[SeenTask]:
        """Return the tasks, of one account or in one state if it is given."""
        seen = (
            SeenTask(**entry | {"state": TaskState(entry["state"]), "phase": Phase(entry["phase"])})
            for entry in self._send("GET", "tasks")["tasks"]
        )
        return [task for task in seen if account in {None, task.account} and state in {None, task.state}]

    def forget_tasks(self) -> None:
        """Delete every task."""
        self._send("DELETE", "tasks")

    def add_fault(
        self,
        kind: FaultKind | str,
        *,
        account: str | None = None,
        operation: str | None = None,
        task: Mapping[str, str | int] | None = None,
        times: int | None = None,
        probability: float | None = None,
        seed: int = 0,
        when: Literal["before", "after"] = "before",
        latency: timedelta = timedelta(0),
        code: str | None = None,
        message: str | None = None,
        status: int | None = None,
        reply: Mapping[str, Any] | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        """Inject a fault; :class:`~streamstop_simulator.faults.Fault` describes the arguments.

        Raises :class:`ValueError` for an invalid rule.
        """
        rule = Fault(
            fault=FaultKind(kind),
            account=account,
            operation=operation,
            task=None if task is None else dict(task),
            times=times,
            probability=probability,
            seed=seed,
            when=when,
            latency_ms=latency / _MILLISECOND,
            code=code,
            message=message,
            status=status,
            reply=None if reply is None else dict(reply),
            retry_after_ms=None if retry_after is None else round(retry_after / _MILLISECOND),
        )
        self._send("POST", "faults", rule.model_dump(mode="json"))

    def faults(self) -> list[dict[str, Any]]:
        """Return the rules; ``met`` and ``remaining`` count calls."""
        return list(self._send("GET", "faults")["faults"])

    def clear_faults(self) -> None:
        """Delete every rule."""
        self._send("DELETE", "faults")

    def settings(self, **changes: Any) -> Settings:
        """Change the given settings (``auto_start=True``), and return all settings."""
        return Settings.model_validate(self._send("PUT", "settings", changes))

    def add_accounts(self, accounts: Iterable[Account]) -> None:
        """Add accounts; an account with a known name replaces the known one."""
        self._send("PUT", "accounts", [asdict(account) for account in accounts])

    def set_limit(self, account: str, operation: str, limit: float | None) -> None:
        """Set a lane's limit in calls per second; None restores the initial limit."""
        self._send("PUT", "limits", [{"account": account, "operation": operation, "limit": limit}])

    def calls(self, account: str | None = None, operation: str | None = None, *, since: int = 0) -> list[Call]:
        """Return the calls from index `since`, in the order of their answers."""
        return list(self._pages({"account": account, "operation": operation, "since": since}))

    def wait_for_calls(
        self,
        count: int,
        account: str | None = None,
        operation: str | None = None,
        *,
        since: int = 0,
        timeout: timedelta = timedelta(seconds=60),
    ) -> list[Call]:
        """Return the calls as soon as there are `count`. Raises :class:`TimeoutError` if there are fewer by then."""
        selection = {"account": account, "operation": operation, "since": since}
        waiting = {"at_least": count, "wait_ms": timeout / _MILLISECOND, "limit": 1}
        self._send("GET", "calls", query=selection | waiting, timeout=self._timeout + timeout.total_seconds())
        calls = list(self._pages(selection))
        if len(calls) < count:
            raise TimeoutError(f"{len(calls)} calls of {count} within {timeout.total_seconds():g} s")
        return calls

    def forget_calls(self) -> None:
        """Delete every call and count."""
        self._send("DELETE", "calls")

    def summary(self) -> Summary:
        """Return the counts."""
        data = self._send("GET", "summary")
        lanes = {(lane["account"], lane["operation"]): LaneSummary(**lane) for lane in data["lanes"]}
        return Summary(lanes, data["refusals"])

    def reset(self) -> None:
        """Restore the initial state: no tasks, calls and faults. Accounts that were added stay."""
        self._send("POST", "reset")

    def _pages(self, query: Mapping[str, Any]) -> Iterator[Call]:
        since, complete = query["since"], False
        while not complete:
            page = self._send("GET", "calls", query={**query, "since": since})
            yield from (Call(**call) for call in page["calls"])
            since, complete = page["next"], page["complete"]

    def _send(
        self,
        method: str,
        name: str,
        data: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Any:
        text = urlencode({key: value for key, value in (query or {}).items() if value is not None})
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout or self._timeout)
        try:
            body = None if data is None else json.dumps(data)
            connection.request(method, f"/_control/{name}?{text}", body, {"Connection": "close"})
            response = connection.getresponse()
            reply = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ControlError(reply["error"])
        return reply
