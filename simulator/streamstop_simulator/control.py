"""The simulator's own API under ``/_control/``. It takes and returns JSON, unsigned. No answer contains a secret.

======  =====================  =======================================================================================
GET     ``/_control/``         the list of routes
PUT     ``/_control/accounts`` add or replace accounts: a list of :class:`~streamstop_simulator.accounts.Account`
GET     ``/_control/accounts`` names, vendors, access key ids
PUT     ``/_control/limits``   a list of ``{"account", "operation", "limit"}``; null restores the initial limit
POST    ``/_control/tasks``    start tasks: one :class:`~streamstop_simulator.tasks.TaskStart` or a list
GET     ``/_control/tasks``    every task with its state
DELETE  ``/_control/tasks``    delete every task
POST    ``/_control/faults``   add one :class:`~streamstop_simulator.faults.Fault` or a list
GET     ``/_control/faults``   the rules; ``met`` and ``remaining`` count calls
DELETE  ``/_control/faults``   delete every rule
GET     ``/_control/settings`` :class:`~streamstop_simulator.simulation.Settings`
PUT     ``/_control/settings`` change the given settings
GET     ``/_control/calls``    calls from index ``since``, of ``account``, of ``operation``, at most ``limit``; with
                               ``at_least``, the answer waits up to ``wait_ms`` for so many calls
DELETE  ``/_control/calls``    delete calls and counts
GET     ``/_control/summary``  the counts of each account and operation, and of rejected calls
POST    ``/_control/reset``    restore the initial state; accounts that were added stay
======  =====================  =======================================================================================

The answer to an invalid request is 400 and ``{"error": …}``.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from streamstop.operations import find
from streamstop_simulator.accounts import accounts_from_json
from streamstop_simulator.faults import Fault
from streamstop_simulator.messages import Answer, ReceivedRequest
from streamstop_simulator.simulation import Settings, Simulation
from streamstop_simulator.tasks import TaskStart

PREFIX = "/_control/"


class _Input(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class LimitEntry(_Input):
    """A lane's limit in ``PUT /_control/limits``: calls per second, or null for the initial limit."""

    account: str
    operation: str
    limit: float | None = Field(gt=0)


class _CallsQuery(_Input):
    since: int = 0
    account: str | None = None
    operation: str | None = None
    limit: int = Field(default=10_000, ge=1)
    at_least: int = 0
    wait_ms: float = Field(default=0, ge=0, le=600_000)


_LIMITS = TypeAdapter(list[LimitEntry])
_TASKS = TypeAdapter(list[TaskStart])
_FAULTS = TypeAdapter(list[Fault])


class Control:
    """The control API of one simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._routes: dict[tuple[str, str], Callable[[ReceivedRequest], Any | Awaitable[Any]]] = {
            ("GET", ""): self._index,
            ("PUT", "accounts"): self._put_accounts,
            ("GET", "accounts"): self._accounts,
            ("PUT", "limits"): self._put_limits,
            ("POST", "tasks"): self._start_tasks,
            ("GET", "tasks"): self._tasks,
            ("DELETE", "tasks"): lambda _: simulation.tasks.reset(),
            ("POST", "faults"): self._add_faults,
            ("GET", "faults"): lambda _: {"faults": simulation.faults.to_json()},
            ("DELETE", "faults"): lambda _: simulation.faults.clear(),
            ("GET", "settings"): lambda _: simulation.settings.model_dump(),
            ("PUT", "settings"): self._put_settings,
            ("GET", "calls"): self._calls,
            ("DELETE", "calls"): lambda _: simulation.forget_calls(),
            ("GET", "summary"): self._summary,
            ("POST", "reset"): lambda _: simulation.reset(),
        }

    async def answer(self, request: ReceivedRequest) -> Answer:
        """Answer a request whose path starts with :data:`PREFIX`."""
        name = request.path.removeprefix(PREFIX).rstrip("/")
        route = self._routes.get((request.method, name))
        if route is None:
            return _json(404, {"error": f"no {request.method} {request.path}; GET {PREFIX} lists the routes"})
        try:
            result = route(request)
            if asyncio.iscoroutine(result):
                result = await result
        except ValueError as error:  # includes pydantic's errors and InvalidCommand
            return _json(400, {"error": str(error)})
        return _json(200, {"ok": True} if result is None else result)

    def _index(self, _: ReceivedRequest) -> Any:
        return {"routes": [f"{method} {PREFIX}{name}" for method, name in self._routes]}

    def _put_accounts(self, request: ReceivedRequest) -> None:
        self._simulation.add_accounts(accounts_from_json(request.body))

    def _accounts(self, _: ReceivedRequest) -> Any:
        return {
            "accounts": [
                {"name": account.name, "vendor": account.vendor, "access_key_id": account.access_key_id}
                for account in self._simulation.accounts.values()
            ]
        }

    def _put_limits(self, request: ReceivedRequest) -> None:
        entries = _LIMITS.validate_json(request.body)
        for entry in entries:
            find(entry.operation)
        for entry in entries:
            self._simulation.set_limit(entry.account, entry.operation, entry.limit)

    def _start_tasks(self, request: ReceivedRequest) -> Any:
        starts = _TASKS.validate_python(_listed(request.body))
        for start in starts:
            if start.account not in self._simulation.accounts:
                raise ValueError(f"account {start.account!r} is unknown to the simulator")
        for start in starts:
            self._simulation.tasks.start(start)
        return {"started": len(starts)}

    def _tasks(self, _: ReceivedRequest) -> Any:
        now = self._simulation.clock.monotonic()
        return {"tasks": [task.to_json(now) for task in self._simulation.tasks]}

    def _add_faults(self, request: ReceivedRequest) -> Any:
        faults = _FAULTS.validate_python(_listed(request.body))
        for fault in faults:
            self._simulation.faults.add(fault)
        return {"added": len(faults)}

    def _put_settings(self, request: ReceivedRequest) -> Any:
        changes = Settings.model_validate_json(request.body)
        named = {name: getattr(changes, name) for name in changes.model_fields_set}
        self._simulation.settings = self._simulation.settings.model_copy(update=named)
        return self._simulation.settings.model_dump()

    async def _calls(self, request: ReceivedRequest) -> Any:
        query = _CallsQuery.model_validate(dict(parse_qsl(request.query)))
        journal = self._simulation.journal
        try:
            async with asyncio.timeout(query.wait_ms / 1000 if query.at_least else None):
                while sum(1 for _ in journal.since(query.since, query.account, query.operation)) < query.at_least:
                    await journal.changed()
        except TimeoutError:
            pass  # the answer contains the calls so far; the caller counts them
        calls = list(islice(journal.since(query.since, query.account, query.operation), query.limit))
        complete = len(calls) < query.limit
        return {
            "calls": [journal.to_json(call) for call in calls],
            "next": journal.next_index if complete else calls[-1].index + 1,
            "complete": complete,
        }

    def _summary(self, _: ReceivedRequest) -> Any:
        simulation = self._simulation
        lanes = [
            {
                "account": account,
                "operation": operation,
                "limit": simulation.limit(account, operation),
                "calls": counts.calls,
                "ok": counts.ok,
                "throttled": counts.throttled,
                "over_limit": counts.over_limit,
                "faults": counts.faults,
                "most_in_a_second": simulation.windows[account, operation].most_in_a_second,
                "first_at": counts.first_at,
                "last_at": counts.last_at,
                "answers": dict(counts.answers),
            }
            for (account, operation), counts in simulation.journal.lanes.items()
        ]
        return {"lanes": lanes, "refusals": dict(simulation.journal.refusals)}


def _listed(body: bytes) -> list[Any]:
    data = json.loads(body)
    return data if isinstance(data, list) else [data]


def _json(status: int, data: Any) -> Answer:
    return Answer(status, "application/json", json.dumps(data, ensure_ascii=False).encode())
