"""Unique commands: while a job of a command is open, the same command becomes no second job.

The hash ``streamstop.unique.<lane>.<digest of the parameters>`` has ``id``, the id of the open job, and ``expires_at``,
when its command expires (µs; empty: never). The message repeats the digest as ``unique``, so that the worker that ends
the job deletes the hash.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from streamstop._core.commands import Command
from streamstop._core.constants import UNIQUE
from streamstop._core.lane import Lane
from streamstop._core.stream_tasks import canonical_params

_DIGEST = re.compile(r"[0-9a-f]{32}")


def digest_of(command: Command) -> str:
    """Return the digest of a command's parameters."""
    return hashlib.sha256(canonical_params(command.operation.params).encode()).hexdigest()[:32]


def unique_key(lane: Lane, argument: object) -> str | None:
    """Return the key of a message's unique command; None if the command is not unique."""
    digest: Any = argument.get("unique") if isinstance(argument, Mapping) else None
    return f"{UNIQUE}{lane.name}.{digest}" if isinstance(digest, str) and _DIGEST.fullmatch(digest) else None
