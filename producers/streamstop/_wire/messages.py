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
_NO_HEADERS: Mapping[str, Any] = {}


def celery_message(
    job_id: str, lane: Lane, argument: Mapping[str, Any], *, priority: int = 0, headers: Mapping[str, Any] = _NO_HEADERS
) -> str:
    """Return the message of the job `job_id`, as it waits in `lane`. `argument` is the task's one argument.

    `headers` are added to Celery's. Their names must differ from Celery's.
    """
    # One message is made for each job, and most of it is constant. So only the parts that differ are encoded.
    body = _encode(f"[[{_encode(argument)}],{{}},{_OPTIONS}]")
    name, (shadow, account, queue) = _encode(job_id), _of_lane(lane)
    more = f",{_encode(headers)[1:-1]}" if headers else ""
    return (
        f'{{"body":{body},"content-encoding":"utf-8","content-type":"application/json",'
        f'"headers":{{"lang":"py","task":{_TASK},"shadow":{shadow},"id":{name},"root_id":{name},"parent_id":null,'
        f'"group":null,"retries":0,"argsrepr":{account},"ignore_result":true{more}}},'
        f'"properties":{{"correlation_id":{name},"reply_to":"","delivery_mode":2,'
        f'"delivery_info":{{"exchange":"","routing_key":{queue}}},"priority":{priority},'
        # Without base64, so that scripts can replace parts of the body.
        f'"body_encoding":null,"delivery_tag":{name}}}}}'
    )


@lru_cache(maxsize=1024)
def _of_lane(lane: Lane) -> tuple[str, str, str]:
    """Return what every message of the lane has, encoded: the name that Celery's tools show, the account, the queue."""
    return _encode(lane.name), _encode(repr((lane.account,))), _encode(lane.queue)


def read_payload(fields: Mapping[str, Any]) -> object:
    """Return the content of a message's body. Raises :class:`ValueError`, :class:`TypeError` or RecursionError."""
    body, properties = fields.get("body"), fields.get("properties")
    if not isinstance(body, str):
        raise TypeError("the body must be text")
    if isinstance(properties, dict) and properties.get("body_encoding") == "base64":
        return json.loads(base64.b64decode(body))
    return json.loads(body)


def read_job(message: bytes | str) -> tuple[str, object]:
    """Return the id of a message's job and the argument of its task: '' and None if they cannot be read."""
    try:
        fields = json.loads(message)
        job_id = str(fields["headers"]["id"])
        payload = read_payload(fields)
    except (ValueError, TypeError, KeyError, RecursionError):
        return "", None
    match payload:
        case [list() as args, dict() as kwargs, *_]:
            return job_id, args[0] if args else kwargs.get("command")
        case _:
            return job_id, None


def read_headers(message: bytes | str) -> Mapping[str, Any]:
    """Return a message's headers; none if they cannot be read."""
    try:
        headers = json.loads(message)["headers"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return _NO_HEADERS
    return headers if isinstance(headers, dict) else _NO_HEADERS


@dataclass(frozen=True)
class WaitingJob:
    """A job as its message in a lane describes it. Nothing of it has been checked."""

    id: str
    #: The command's JSON data.
    command: Mapping[str, Any]

    @property
    def enqueued_at(self) -> datetime | None:
        """When it was enqueued; None if its message does not say."""
        return self._moment("enqueued_at")

    @property
    def expires_at(self) -> datetime | None:
        """After which moment it is not sent; None if its message does not say."""
        return self._moment("expires_at")

    def _moment(self, key: str) -> datetime | None:
        seconds = self.command.get(key)
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
    job_id, argument = read_job(entry)
    return WaitingJob(job_id, argument) if job_id and isinstance(argument, dict) else None
