"""Request: a job as a request of Celery, so that inspect, events, Flower and revoke work."""

from collections.abc import Callable
from typing import Any

from celery.worker import state
from celery.worker.request import Request

from streamstop.outcomes import Deferral, Outcome, Result
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import End, StepDone


class JobRequest(Request):
    """Celery's request. The pool's event loop runs its delivery instead of Celery's tracer."""

    delivery: Delivery
    #: Returns the current dispatcher of events. A reconnection replaces the dispatcher.
    dispatcher: Callable[[], Any]
    _context: Any  # Celery's types know none of these
    args: Any
    kwargs: Any

    def execute_using_pool(self, pool: Any, **_options: Any) -> None:  # type: ignore[override]  # its result is not used
        """Pass the delivery to the pool. The pipeline checks whether the job is revoked, also right before its call."""
        pool.apply_async(
            None, (self,), accept_callback=self.on_accepted, callback=self.on_ended, error_callback=self.on_error
        )

    def terminate(self, pool: Any, signal: Any = None) -> None:  # as Celery calls it
        """Do nothing: a call under way is not interrupted. The pipeline does not call a revoked job."""

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002  # as Celery calls it
        """Send an event through the current connection."""
        dispatcher = self.dispatcher()
        if dispatcher is not None and dispatcher.enabled and self.task.send_events:
            dispatcher.send(type, uuid=self.id, **fields)

    def on_ended(self, end: End, runtime_s: float) -> None:
        """Send the event of an end that Redis has recorded."""
        match end:
            case Outcome() if end.ok:
                state.task_ready(self, successful=True)
                self.send_event("task-succeeded", result=_describe(end), runtime=runtime_s)
            case StepDone(step):
                state.task_ready(self, successful=True)
                self.send_event("task-succeeded", result=step, runtime=runtime_s)
            case Outcome(result=Result.CANCELLED):
                state.task_ready(self)
                self.send_event("task-revoked", terminated=False, signum=None, expired=False)
            case Outcome():
                state.task_ready(self)
                self.send_event("task-failed", exception=f"JobFailed({_describe(end)})", traceback="")
            case Deferral():
                state.task_ready(self)
                self.send_event("task-retried", exception=f"JobDeferred({end.reason!r})", traceback="")
            case _:
                state.task_ready(self)
                self.send_event("task-rejected", requeue=True)
        self.acknowledge()

    def on_error(self, error: BaseException) -> None:
        """Send the event of a job that is left to its lease."""
        state.task_ready(self)
        self.send_event("task-retried", exception=f"{type(error).__name__}: taken again after its lease", traceback="")
        self.acknowledge()


def _describe(outcome: Outcome) -> str:
    parts = (outcome.result.value, outcome.code, outcome.message)
    return ": ".join(part for part in parts if part)
