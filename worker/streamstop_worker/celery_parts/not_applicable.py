"""Not applicable: options of Celery that streamstop does not support, and what to use instead.

A worker refuses such an option. If it ignored the option, it would not do what its operator expects.
"""

import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import click
import structlog
from click.core import ParameterSource

from streamstop._core.lane import QUEUE
from streamstop_worker.settings import MOST_CONCURRENCY

_log = structlog.get_logger("streamstop")

_NO_CHILDREN = "the pool is one event loop and has no child processes"
CALL_TIMEOUT = "STREAMSTOP_CALL_TIMEOUT bounds each call"
_SLOTS = "a worker takes a job shortly before its slot and holds no others"
_BEAT = "streamstop has no periodic tasks; run celery beat from an app of your own"
ALL_LANES = "a worker serves every lane of the accounts in its file"
SERVED = f"{ALL_LANES}; streamstop pause stops an account or a lane in every worker"
PURGE = "jobs wait in lanes; cancel them with streamstop drain ACCOUNT, or a room's with its shutdown"

#: By parameter of ``celery worker``: the option as it is written, and why it does not apply.
_OPTIONS: Mapping[str, tuple[str, str]] = {
    "pool_cls": ("--pool", "jobs run in streamstop's own pool"),
    "pool": ("--pool", "jobs run in streamstop's own pool"),
    "autoscale": ("--autoscale", "waiting jobs use no worker; --concurrency bounds how many run at once"),
    "time_limit": ("--time-limit", CALL_TIMEOUT),
    "soft_time_limit": ("--soft-time-limit", CALL_TIMEOUT),
    "max_tasks_per_child": ("--max-tasks-per-child", _NO_CHILDREN),
    "max_memory_per_child": ("--max-memory-per-child", _NO_CHILDREN),
    "pool_start_method": ("--pool-start-method", _NO_CHILDREN),
    "optimization": ("-O", _NO_CHILDREN),
    "prefetch_multiplier": ("--prefetch-multiplier", _SLOTS),
    "disable_prefetch": ("--disable-prefetch", _SLOTS),
    "queues": ("--queues", ALL_LANES),
    "exclude_queues": ("--exclude-queues", ALL_LANES),
    "purge": ("--purge", PURGE),
    "beat": ("--beat", _BEAT),
    "schedule_filename": ("--schedule", _BEAT),
    "scheduler": ("--scheduler", _BEAT),
}
#: Values that change nothing; they are accepted.
_SAME: Mapping[str, object] = {"optimization": "default", "queues": [QUEUE]}


def refuse_options(worker: Any) -> None:
    """Exit with a one-line message if the worker was started with an option that does not apply."""
    context = click.get_current_context(silent=True)
    for name, (option, why) in _OPTIONS.items():
        if context is None or context.get_parameter_source(name) not in _ASKED:
            continue
        if name not in _SAME or context.params.get(name) != _SAME[name]:
            leave(worker, not_applicable(option, why))
    if context is not None and context.params.get("concurrency") == "auto":
        leave(
            worker,
            not_applicable(
                "--concurrency=auto",
                "concurrency counts calls that wait for the network, so the number of CPUs says nothing",
            ),
        )
    if not 1 <= worker.concurrency <= MOST_CONCURRENCY:
        most = MOST_CONCURRENCY
        leave(worker, f"--concurrency must be a whole number from 1 to {most}, not {worker.concurrency}")


def leave(worker: Any, why: str) -> NoReturn:
    """Exit because the worker cannot start. A log file gets the reason too: a daemon's stderr is not read."""
    if worker.logfile:
        _log.critical("the worker cannot start", reason=why)
    sys.exit(f"streamstop: {why}")


def not_applicable(what: str, why: str) -> str:
    """Return the sentence that `what` does not apply, and why."""
    return f"{what} does not apply: {why}"


_ASKED = {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT}
