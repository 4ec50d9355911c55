"""Remote control: the commands of ``celery control`` that mean something else here, or nothing."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from celery.worker import state as worker_state
from celery.worker.control import Panel, nok, ok  # type: ignore[attr-defined]  # its types lack two of them

from streamstop_worker.celery_parts.not_applicable import ALL_LANES, CALL_TIMEOUT, not_applicable

_PACE = "the accounts file says each lane's limit; SIGHUP takes over a changed one"
_POOL = "start the worker with another --concurrency, or more workers"

#: Commands, and why they do not apply.
_REFUSED: Mapping[str, str] = {
    "rate_limit": _PACE,
    "time_limit": CALL_TIMEOUT,
    "pool_grow": _POOL,
    "pool_shrink": _POOL,
    "pool_restart": _POOL,
    "autoscale": _POOL,
    "add_consumer": ALL_LANES,
    "cancel_consumer": ALL_LANES,
    "revoke_by_stamped_headers": "jobs carry no stamps; revoke them by their ids",
}

_log = structlog.get_logger("streamstop")


def install() -> None:
    """Put our commands in the place of Celery's. Their help and their arguments stay."""
    Panel.data["revoke"] = revoke
    Panel.data["terminate"] = terminate
    for name, why in _REFUSED.items():
        Panel.data[name] = _refusal(name, why)


def revoke(_state: Any, task_id: str | Iterable[str], terminate: bool = False, **_options: Any) -> dict[str, str]:
    """Remember jobs as revoked: none of them is called any more by this worker.

    Celery's own command also writes a record. Here the worker that takes the job ends it, and its report writes the
    record; another record would keep producers from the outcome.
    """
    ids = [task_id] if isinstance(task_id, str) else list(task_id or ())
    worker_state.revoked.update(ids)
    _log.info("jobs are revoked", job_ids=ids)
    answer = f"tasks {', '.join(ids)} flagged as revoked"
    return ok(f"{answer}; a call that is made is not cut off" if terminate else answer)  # type: ignore[no-any-return]


def terminate(state: Any, signal: str, task_id: str | Iterable[str], **_options: Any) -> dict[str, str]:  # noqa: ARG001
    """Revoke: no process is signalled for it."""
    return revoke(state, task_id, terminate=True)


def _refusal(name: str, why: str) -> Callable[..., dict[str, str]]:
    def refuse(_state: Any, **_arguments: Any) -> dict[str, str]:
        return nok(f"streamstop: {not_applicable(name, why)}")  # type: ignore[no-any-return]

    return refuse
