"""Tasks: the names under which Celery knows jobs. Jobs run in the pool's event loop, not in a task's body."""

from typing import NoReturn

from celery import Celery, Task
from celery.backends.base import DisabledBackend

from streamstop._core.commands import TASK
from streamstop._redis.rooms import CALLBACKS, CONTROL
from streamstop.errors import JobFailed
from streamstop.operations import OPERATIONS


class LaneTask(Task):  # type: ignore[type-arg]  # it takes whatever a foreign producer sends
    """The jobs of one operation. ``streamstop.execute`` stands for operations that this version does not know."""

    # The script that drops the lease records the outcome in the same step.
    ignore_result = True
    acks_late = True
    throws = (JobFailed,)
    typing = False

    def run(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse to run anywhere but in a worker."""
        raise RuntimeError("jobs run in streamstop's workers: enqueue them with streamstop.Client")


def register(app: Celery) -> None:
    """Register a task for every operation that this version knows."""
    for name in (TASK, CONTROL.operation, CALLBACKS.operation, *OPERATIONS):
        task = app.register_task(type("LaneTask", (LaneTask,), {"name": name})())
        task.backend = DisabledBackend(app)
