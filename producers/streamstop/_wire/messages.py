"""Messages: a job in the format of Celery and kombu (task message protocol 2).

Clients and scripts push messages into lanes directly, without Celery. Source:
https://docs.celeryq.dev/en/stable/internals/protocol.html
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from streamstop._core.commands import TASK
from streamstop._core.lane import Lane

_encode = json.JSONEncoder(separators=(",", ":")).encode
_OPTIONS = _encode({"callbacks": None, "errbacks": None, "chain": None, "chord": None})
_TASK = _encode(TASK)


def celery_message(job_id: str, lane: Lane, argument: Mapping[str, Any], *, priority: int = 0) -> str:
    """Return the message of the job `job_id`, as it waits in `lane`. `argument` is the task's one argument."""
    # One message is made for each job, and most of it is constant. So only the parts that differ are encoded.
    body = _encode(f"[[{_encode(argument)}],{{}},{_OPTIONS}]")
    name, (shadow, account, queue) = _encode(job_id), _of_lane(lane)
    return (
        f'{{"body":{body},"content-encoding":"utf-8","content-type":"application/json",'
        f'"headers":{{"lang":"py","task":{_TASK},"shadow":{shadow},"id":{name},"root_id":{name},"parent_id":null,'
        f'"group":null,"retries":0,"argsrepr":{account},"ignore_result":true}},'
        f'"properties":{{"correlation_id":{name},"reply_to":"","delivery_mode":2,'
        f'"delivery_info":{{"exchange":"","routing_key":{queue}}},"priority":{priority},'
        # Without base64, so that scripts can replace parts of the body.
        f'"body_encoding":null,"delivery_tag":{name}}}}}'
    )


@lru_cache(maxsize=1024)
def _of_lane(lane: Lane) -> tuple[str, str, str]:
    """Return what every message of the lane has, encoded: the name that Celery's tools show, the account, the queue."""
    return _encode(lane.name), _encode(repr((lane.account,))), _encode(lane.queue)


def payload_of(fields: Mapping[str, Any]) -> object:
    """Return the payload of a message's JSON object: a list of arguments, keyword arguments and options.

    Raises ValueError, TypeError or RecursionError if it cannot be decoded.
    """
    body, properties = fields.get("body"), fields.get("properties")
    if not isinstance(body, str):
        raise TypeError("the body must be text")
    if isinstance(properties, dict) and properties.get("body_encoding") == "base64":
        return json.loads(base64.b64decode(body))
    return json.loads(body)


@dataclass(frozen=True)
class WaitingJob:
    """A job as its message in a lane describes it. Nothing of it has been checked."""

    id: str
    #: The command's JSON data.
    command: Mapping[str, Any]

    @property
    def enqueued_at(self) -> datetime | None:
        """When it was enqueued; None if its message does not say."""
        seconds = self.command.get("enqueued_at")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            return None
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            return None


def read_waiting(entry: bytes) -> WaitingJob | None:
    """Return the job of an entry of a lane's list; None if it cannot be read."""
    if entry.startswith(b"\1"):  # the history of a job that a worker has returned
        entry = entry.partition(b"\n")[2]
    try:
        fields = json.loads(entry)
        payload = payload_of(fields)
        match fields["headers"]["id"], payload:
            case str() as job_id, [[dict() as command, *_], *_] | [[], {"command": dict() as command}, *_]:
                return WaitingJob(job_id, command)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return None
