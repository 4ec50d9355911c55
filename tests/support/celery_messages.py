"""Messages as kombu writes them into a Redis list, by any producer that speaks Celery's protocol 2."""

import base64
import json
from typing import Any

from streamstop._core.lane import Lane


def celery_message(lane: Lane, job_id: str, *, priority: object = 0, task: str = "streamstop.execute") -> bytes:
    """Return the message of a job that stops a stream task."""
    return json.dumps(envelope(lane, job_id, priority=priority, task=task)).encode()


def envelope(lane: Lane, job_id: str, *, priority: object = 0, task: str = "streamstop.execute") -> dict[str, Any]:
    """Return the message's JSON data."""
    command = {
        "v": 1,
        "operation": lane.operation,
        "account": lane.account,
        "params": {"AppId": "app", "TaskId": job_id.rpartition(".")[2]},
    }
    body = json.dumps([[command], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": job_id, "retries": 0, "eta": None, "expires": None},
        "properties": {
            "correlation_id": job_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": lane.queue},
            "priority": priority,
            "body_encoding": "base64",
            "delivery_tag": f"tag of {job_id}",
        },
    }
