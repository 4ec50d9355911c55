"""Celery tasks: what became of a delivery turns into a Celery state. Nothing is decided here."""

from typing import NoReturn

import structlog
from celery import Task
from celery.exceptions import Ignore, Retry

from streamstop.commands import TASK
from streamstop.errors import JobDeferred, JobFailed
from streamstop.lanes import UNREACHABLE, Lane
from streamstop.outcomes import Outcome
from streamstop.results import Deferral
from streamstop.rooms import CALLBACKS, CONTROL
from streamstop_worker.control import Control
from streamstop_worker.execute import Delivery, Executor
from streamstop_worker.set_aside import SetAside


class ExecuteTask(Task):  # type: ignore[type-arg]  # it takes whatever a foreign producer sends
    """``streamstop.execute``: its argument is a command, as :mod:`streamstop.commands` has it."""

    name = TASK
    # The scripts record outcomes themselves, in the same step that drops the lease.
    ignore_result = True
    # A message stays with its slot of the pool until it is done, so that no worker hoards what another could run.
    acks_late = True
    acks_on_failure_or_timeout = True
    throws = (JobFailed,)
    typing = False

    #: Set by the worker's bootstep before the first message is taken.
    executor: Executor | None = None
    control: Control | None = None
    set_aside: SetAside | None = None

    def run(self, *args: object, **kwargs: object) -> dict[str, object]:
        """Execute one delivery. Returns the outcome; Celery's own exceptions tell every other end."""
        assert self.executor is not None and self.control is not None  # noqa: S101, PT018  # the bootstep has run
        lane = self._lane()
        if lane is None:
            structlog.get_logger("streamstop").error("a message did not come through a lane", job_id=self.request.id)
            raise Ignore
        message = args[0] if args else kwargs.get("command")
        try:
            report: Outcome | Deferral | None
            if lane in {CALLBACKS, CONTROL}:
                report = self.control.execute(str(self.request.id), lane, message)
            else:
                report = self.executor.execute(Delivery(str(self.request.id), lane, message))
        except UNREACHABLE as error:
            structlog.get_logger("streamstop").warning(
                "Redis did not answer; the job's lease brings it back",
                job_id=self.request.id,
                account=lane.account,
                operation=lane.operation,
                error=type(error).__name__,
            )
            raise Ignore from None
        return self._ended(report) if isinstance(report, Outcome) else self._not_ended(report)

    def _lane(self) -> Lane | None:
        """Return the lane that holds the job: the queue that the message was published to names it."""
        route = (self.request.delivery_info or {}).get("routing_key") or ""
        return Lane.from_queue(route) or Lane.of_job(str(self.request.id))

    @staticmethod
    def _ended(outcome: Outcome) -> dict[str, object]:
        data = outcome.model_dump(mode="json", exclude_none=True)
        if outcome.ok:
            return data
        raise JobFailed(data)

    @staticmethod
    def _not_ended(deferral: Deferral | None) -> NoReturn:
        if deferral is None:
            raise Ignore
        due = deferral.due.isoformat()
        raise Retry(deferral.reason, JobDeferred(deferral.reason, due), when=deferral.due)
