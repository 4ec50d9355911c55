"""Request: a job as Celery sees it, so that its tools tell the truth: inspect, events, Flower, revoke."""

from collections.abc import Callable
from typing import Any

from celery.worker import state
from celery.worker.request import Request

from streamstop.outcomes import Deferral, Outcome, Result
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import End, StepDone


class JobRequest(Request):
    """Celery's request, whose delivery is run by the event loop of the pool instead of by a tracer."""

    delivery: Delivery
    #: Returns the dispatcher of events that is connected now; the one at the request's beginning may be gone.
    dispatcher: Callable[[], Any]
    _context: Any  # Celery's types know none of these
    args: Any
    kwargs: Any

    def execute_using_pool(self, pool: Any, **_options: Any) -> None:  # type: ignore[override]  # nobody reads it
        """Hand the delivery to the pool. Whether the job was revoked is asked there, also right before its call."""
        pool.apply_async(
            None, (self,), accept_callback=self.on_accepted, callback=self.on_ended, error_callback=self.on_broken
        )

    def terminate(self, pool: Any, signal: Any = None) -> None:  # as Celery calls it
        """Do nothing: a job that was revoked is not called; a call that is made is made."""

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002  # as Celery calls it
        """Send an event, through the connection that there is now."""
        dispatcher = self.dispatcher()
        if dispatcher is not None and dispatcher.enabled and self.task.send_events:
            dispatcher.send(type, uuid=self.id, **fields)

    def on_ended(self, end: End, runtime_s: float) -> None:
        """Tell what the report has told Redis."""
        match end:
            case Outcome() if end.ok:
                state.task_ready(self, successful=True)
                self.send_event("task-succeeded", result=_shown(end), runtime=runtime_s)
            case StepDone(step):
                state.task_ready(self, successful=True)
                self.send_event("task-succeeded", result=step, runtime=runtime_s)
            case Outcome(result=Result.CANCELLED):
                state.task_ready(self)
                self.send_event("task-revoked", terminated=False, signum=None, expired=False)
            case Outcome():
                state.task_ready(self)
                self.send_event("task-failed", exception=f"JobFailed({_shown(end)})", traceback="")
            case Deferral():
                state.task_ready(self)
                self.send_event("task-retried", exception=f"JobDeferred({end.reason!r})", traceback="")
            case _:
                state.task_ready(self)
                self.send_event("task-rejected", requeue=True)
        self.acknowledge()

    def on_broken(self, error: BaseException) -> None:
        """Tell that the job was left to its lease."""
        state.task_ready(self)
        self.send_event("task-retried", exception=f"{type(error).__name__}: its lease brings it back", traceback="")
        self.acknowledge()


def _shown(outcome: Outcome) -> str:
    parts = (outcome.result.value, outcome.code, outcome.message)
    return ": ".join(part for part in parts if part)
