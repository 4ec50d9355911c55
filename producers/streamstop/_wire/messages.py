"""Messages: a job as Celery and kombu write it (task message protocol 2).

What a shutdown enqueues is put into its lanes by a script, and what a client does by one command, so that Celery does
not publish them itself. Source: https://docs.celeryq.dev/en/stable/internals/protocol.html
"""

import json
from collections.abc import Mapping
from typing import Any

from streamstop._core.commands import TASK
from streamstop._core.lane import Lane

_encode = json.JSONEncoder(separators=(",", ":")).encode
_OPTIONS = _encode({"callbacks": None, "errbacks": None, "chain": None, "chord": None})
_TASK = _encode(TASK)


def celery_message(job_id: str, lane: Lane, argument: Mapping[str, Any], *, priority: int = 0) -> str:
    """Return the message of the job `job_id` in `lane`, whose task takes one argument, as it lies in the queue."""
    # Most of a message is the same in each, and it is made for every job: so only what differs is encoded.
    body = _encode(f"[[{_encode(argument)}],{{}},{_OPTIONS}]")
    name, queue = _encode(job_id), _encode(lane.queue)
    return (
        f'{{"body":{body},"content-encoding":"utf-8","content-type":"application/json",'
        f'"headers":{{"lang":"py","task":{_TASK},"id":{name},"root_id":{name},"parent_id":null,"group":null,'
        '"retries":0,"eta":null,"expires":null,"timelimit":[null,null],"argsrepr":"","kwargsrepr":"",'
        f'"ignore_result":true}},"properties":{{"correlation_id":{name},"reply_to":"","delivery_mode":2,'
        f'"delivery_info":{{"exchange":"","routing_key":{queue}}},"priority":{priority},'
        # The body as it stands: scripts fill in what is known only to them.
        f'"body_encoding":null,"delivery_tag":{name}}}}}'
    )
