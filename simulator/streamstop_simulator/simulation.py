"""The simulated vendors, without I/O: turns a :class:`ReceivedRequest` into an :class:`Answer`, and records the call.

Each call takes these steps. The first step that fails determines the answer::

    recognise ▶ parse ▶ account, timestamp, signature, nonce ▶ action ▶ limit ▶ fault ▶ parameters ▶ carry out
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from streamstop.operations import OPERATIONS, Operation
from streamstop_simulator import actions
from streamstop_simulator.accounts import DEFAULT_ACCOUNTS, Account
from streamstop_simulator.aliyun import Aliyun
from streamstop_simulator.answers import AnswerBuilder, NamedAnswer
from streamstop_simulator.clock import Clock
from streamstop_simulator.faults import Fault, Faults
from streamstop_simulator.journal import Call, Journal
from streamstop_simulator.limits import SlidingWindow
from streamstop_simulator.messages import Answer, Claim, ReceivedRequest, VendorError
from streamstop_simulator.tasks import Task, Tasks, TaskStart, TaskState, family_of, identifying
from streamstop_simulator.tencent import Tencent

_BY_ACTION = {
    (cls.spec.product.vendor.name, cls.spec.product.version, cls.spec.action): cls for cls in OPERATIONS.values()
}
_VERSIONS = {(vendor, version) for vendor, version, _ in _BY_ACTION}


class Settings(BaseModel):
    """Settings for all calls; ``PUT /_control/settings`` changes them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Treat an unknown task as running.
    auto_start: bool = False
    #: Treat a task that has ended as unknown, as vendors do that delete ended tasks.
    forget_ended: bool = False
    #: Delay of every vendor answer, in milliseconds.
    latency_ms: float = Field(default=0, ge=0)
    #: Alibaba's ``x-acs-retry-after``, in milliseconds, for calls over the limit; not every API sends it.
    retry_after_ms: int | None = Field(default=None, ge=0)


@dataclass
class _Progress:
    """What is known of a call so far, for the journal."""

    request_id: str
    claim: Claim | None = None
    account: Account | None = None
    operation: type[Operation] | None = None
    authenticated: bool = False
    over_limit: bool = False
    carried_out: bool = False
    fault: Fault | None = None


class Simulation:
    """Both vendors, their accounts and tasks. It is not thread-safe: one event loop calls it."""

    def __init__(
        self,
        accounts: Iterable[Account] = DEFAULT_ACCOUNTS,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.settings = self._initial_settings = settings or Settings()
        self.accounts: dict[str, Account] = {}
        self.tasks = Tasks(self.clock)
        self.faults = Faults()
        self.journal = Journal()
        self.windows: dict[tuple[str, str], SlidingWindow] = {}
        self._dialects = (Tencent(), Aliyun())
        self._keys: dict[tuple[str, str], Account] = {}
        self._limits: dict[tuple[str, str], float] = {}
        self.add_accounts(accounts)

    def add_accounts(self, accounts: Iterable[Account]) -> None:
        """Add accounts; an account with a known name replaces the known one."""
        for account in accounts:
            self.accounts[account.name] = account
        self._keys = {(account.vendor, account.access_key_id): account for account in self.accounts.values()}
        self._apply_limits()

    def limit(self, account: str, operation: str) -> float:
        """Return a lane's calls per second: set by :meth:`set_limit`, else of the account, else documented."""
        if (changed := self._limits.get((account, operation))) is not None:
            return changed
        of_account = self.accounts[account].limits.get(operation) if account in self.accounts else None
        return of_account if of_account is not None else OPERATIONS[operation].spec.limit

    def set_limit(self, account: str, operation: str, limit: float | None) -> None:
        """Set a lane's limit in calls per second; None restores the account's or the documented limit."""
        if limit is None:
            self._limits.pop((account, operation), None)
        else:
            self._limits[account, operation] = limit
        self._apply_limits()

    def forget_calls(self) -> None:
        """Delete every call and count."""
        self.journal.clear()
        self.windows.clear()

    def reset(self) -> None:
        """Restore the initial state: no tasks, calls and faults. Accounts that were added stay."""
        self.tasks.reset()
        self.faults.clear()
        self.forget_calls()
        self._limits.clear()
        self.settings = self._initial_settings

    def answer(self, request: ReceivedRequest) -> Answer | None:
        """Return the vendor's answer to a call, or None if no vendor recognises the request."""
        dialect = next((dialect for dialect in self._dialects if dialect.recognises(request)), None)
        if dialect is None:
            return None
        progress = _Progress(str(uuid.uuid4()))
        builder = AnswerBuilder(dialect, progress.request_id, request.headers.get("host", ""))
        try:
            named = NamedAnswer("ok", dialect.reply(self._serve(dialect, request, progress), progress.request_id))
        except VendorError as error:
            named = builder.error(error)
        if progress.fault is not None:
            named = builder.with_fault(progress.fault, named)
        self._record(dialect, request, progress, named)
        if self.settings.latency_ms:
            return replace(named.answer, delay_ms=named.answer.delay_ms + self.settings.latency_ms)
        return named.answer

    def _serve(self, dialect: Aliyun | Tencent, request: ReceivedRequest, progress: _Progress) -> dict[str, Any]:
        progress.claim = claim = dialect.parse(request)
        progress.account = account = self._keys.get((dialect.name, claim.access_key_id))
        progress.operation = operation = _BY_ACTION.get((dialect.name, claim.version, claim.action))
        dialect.authenticate(request, claim, account)
        progress.authenticated = True
        if operation is None or account is None:
            raise dialect.unknown_action((dialect.name, claim.version) in _VERSIONS)
        lane = (account.name, operation.spec.id)
        window = self.windows.get(lane)
        if window is None:
            window = self.windows[lane] = SlidingWindow(self.limit(*lane))
        if not window.arrive(request.at):
            progress.over_limit = True
            raise dialect.throttled(self.settings.retry_after_ms)
        progress.fault = self.faults.next_for(*lane, claim.params or {})
        if progress.fault is not None and progress.fault.prevents:
            return {}
        params = dialect.check(operation, claim, request)
        fields = self._carry_out(operation, account.name, params)
        progress.carried_out = True
        return fields

    def _carry_out(self, operation: type[Operation], account: str, params: dict[str, Any]) -> dict[str, Any]:
        family = family_of(operation)
        now = self.clock.monotonic()
        if actions.lists(operation):
            tasks = [task for task in self.tasks.of(account, family) if self._known(task, now)]
            return actions.listing(operation, params, tasks, now)
        task = self.tasks.find(account, family, params)
        if task is None and self.settings.auto_start:
            identity = {name: params[name] for name in identifying(family)}
            task = self.tasks.start(TaskStart(account=account, operation=family, params=identity))
        return actions.carry_out(operation, params, task if task and self._known(task, now) else None, now)

    def _known(self, task: Task, now: float) -> bool:
        return not self.settings.forget_ended or task.state(now) is TaskState.RUNNING

    def _record(
        self, dialect: Aliyun | Tencent, request: ReceivedRequest, progress: _Progress, named: NamedAnswer
    ) -> None:
        claim, operation = progress.claim, progress.operation
        names = set() if operation is None else {field.alias for field in operation.model_fields.values()}
        self.journal.add(
            Call(
                index=self.journal.next_index,
                vendor=dialect.name,
                account=progress.account.name if progress.account else None,
                operation=operation.spec.id if operation else None,
                action=claim.action if claim else None,
                method=request.method,
                params={k: v for k, v in ((claim and claim.params) or {}).items() if k in names},
                arrived_at=request.epoch,
                arrived_monotonic=request.at,
                decided_at=self.clock.epoch(),
                answer=named.name,
                status=named.answer.status,
                request_id=progress.request_id,
                authenticated=progress.authenticated,
                over_limit=progress.over_limit,
                carried_out=progress.carried_out,
                fault=progress.fault.fault if progress.fault else None,
            )
        )

    def _apply_limits(self) -> None:
        for lane, window in self.windows.items():
            window.limit = self.limit(*lane)
