"""Remote control: commands of ``celery control`` that streamstop replaces or refuses."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from celery.worker import state as worker_state
from celery.worker.control import Panel, nok, ok  # type: ignore[attr-defined]  # its types lack two of them

from streamstop_worker.celery_parts.not_applicable import CALL_TIMEOUT, SERVED, not_applicable

_PACE = "all workers share the limit of a lane; set it with streamstop limit set ACCOUNT OPERATION CALLS_PER_SECOND"
_POOL = "restart the worker with another --concurrency, or start more workers"

#: By command: why it does not apply.
_REFUSED: Mapping[str, str] = {
    "rate_limit": _PACE,
    "time_limit": CALL_TIMEOUT,
    "pool_grow": _POOL,
    "pool_shrink": _POOL,
    "pool_restart": _POOL,
    "autoscale": _POOL,
    "add_consumer": SERVED,
    "cancel_consumer": SERVED,
    "revoke_by_stamped_headers": "jobs have no stamps; revoke them by id",
}

_log = structlog.get_logger("streamstop")


def install() -> None:
    """Replace Celery's commands by ours. Their help texts and arguments stay."""
    Panel.data["revoke"] = revoke
    Panel.data["terminate"] = terminate
    for name, why in _REFUSED.items():
        Panel.data[name] = _refusal(name, why)


def revoke(_state: Any, task_id: str | Iterable[str], terminate: bool = False, **_options: Any) -> dict[str, str]:
    """Mark jobs as revoked. The worker that takes such a job ends it as cancelled, without a call.

    Celery's own command also writes a result record. Here only the report that ends the job writes one: an earlier
    record would hide the outcome from producers.
    """
    ids = [task_id] if isinstance(task_id, str) else list(task_id or ())
    worker_state.revoked.update(ids)
    _log.info("jobs are revoked", job_ids=ids)
    answer = f"tasks {', '.join(ids)} flagged as revoked"
    return ok(f"{answer}; a call under way is not interrupted" if terminate else answer)  # type: ignore[no-any-return]


def terminate(state: Any, signal: str, task_id: str | Iterable[str], **_options: Any) -> dict[str, str]:  # noqa: ARG001
    """Revoke the jobs. No process is signalled."""
    return revoke(state, task_id, terminate=True)


def _refusal(name: str, why: str) -> Callable[..., dict[str, str]]:
    def refuse(_state: Any, **_arguments: Any) -> dict[str, str]:
        return nok(f"streamstop: {not_applicable(name, why)}")  # type: ignore[no-any-return]

    return refuse
