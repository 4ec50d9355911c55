"""Ended: logs each shutdown that has ended, once among all workers.

Any script can end a shutdown, also one that a producer runs. So each sweep asks which have ended since the last one.
"""

import json

import structlog

from streamstop._redis.shutdown_views import ShutdownViews
from streamstop._tracing import linked_trace_id

_log = structlog.get_logger("streamstop.control")


def log_ended(shutdowns: ShutdownViews, since_us: int, until_us: int) -> None:
    """Log the shutdowns that have ended from one sweep to before another, in µs. Raises redis-py's errors."""
    if not since_us:  # the first sweep of all
        return
    for shutdown, facts in shutdowns.ended_between(since_us, until_us):
        log = _log.bind(shutdown=shutdown, room=facts["room"], status=facts["status"])
        if trace_id := linked_trace_id(json.loads(facts.get("trace", "{}"))):
            log = log.bind(trace_id=trace_id)
        needs_attention = int(facts["attention"]) > 0
        (log.warning if needs_attention else log.info)(
            "the shutdown has ended",
            total=int(facts["total"]),
            attention=int(facts["attention"]),
            **{name[2:]: int(count) for name, count in facts.items() if name.startswith("n:")},
            duration_s=int(facts["done"]) - int(facts["opened"]),
        )
