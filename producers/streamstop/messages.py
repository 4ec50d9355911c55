"""Messages: a job as Celery and kombu write it (task message protocol 2).

What a shutdown enqueues is put into its lanes by a script, and what a client does by one command, so that Celery does
not publish them itself. Source: https://docs.celeryq.dev/en/stable/internals/protocol.html
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from streamstop.commands import TASK
from streamstop.lanes import Lane


def celery_message(job_id: str, lane: Lane, argument: Mapping[str, Any], *, priority: int = 0) -> str:
    """Return the message of the job `job_id` in `lane`, whose task takes one argument, as it lies in the queue."""
    no_signatures = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return json.dumps(
        {
            "body": json.dumps([[argument], {}, no_signatures]),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": TASK,
                "id": job_id,
                "root_id": job_id,
                "parent_id": None,
                "group": None,
                "retries": 0,
                "eta": None,
                "expires": None,
                "timelimit": [None, None],
                "argsrepr": "",
                "kwargsrepr": "",
                "ignore_result": True,
            },
            "properties": {
                "correlation_id": job_id,
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": lane.queue},
                "priority": priority,
                "body_encoding": None,  # as it stands: scripts fill in what is known only to them
                "delivery_tag": job_id,
            },
        }
    )


def argument_of(message: bytes) -> object:
    """Return the argument that a message as it lies in the queue gives its task; None where it cannot be read."""
    try:
        fields = json.loads(message)
        body = fields["body"]
        if (fields.get("properties") or {}).get("body_encoding") == "base64":
            body = base64.b64decode(body)
        (argument,), _kwargs, _options = json.loads(body)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return argument
