"""Requests: calls with an idempotency key. A request that is made again within a day enqueues nothing more.

The hash ``streamstop.request.<digest of namespace and key>`` has the digest of the commands, and whether they are
accepted. It is written by the step that accepts them, so neither exists without the other.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self
from uuid import uuid4

from streamstop._core.commands import Command
from streamstop._core.constants import REQUEST
from streamstop._core.lane import Lane
from streamstop.errors import InvalidCommand

#: How long a request is known after it was accepted.
REQUESTS_KEPT = timedelta(days=1)
#: How long a request whose caller was killed before its commands were accepted counts as under way.
UNDER_WAY_KEPT = timedelta(seconds=60)

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class Request:
    """A call with an idempotency key."""

    #: Digest of the namespace and the key.
    id: str
    #: Digest of the commands.
    digest: str
    #: Of this call. The jobs' ids derive from it too: a key that is used again after a day must not name ended jobs,
    #: whose records could be kept for longer.
    nonce: str

    @classmethod
    def of(cls, namespace: str, key: str, commands: Sequence[Command], *, unique: bool) -> Self:
        """Return the request. Raises :class:`~streamstop.errors.InvalidCommand` if the key is not valid."""
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise InvalidCommand(
                "an idempotency key must have 1 to 255 visible ASCII characters", field="idempotency_key"
            )
        return cls(_digest([namespace, key]), _digest([unique, *map(_canonical, commands)]), uuid4().hex)

    @property
    def redis_key(self) -> str:
        """The key in Redis."""
        return f"{REQUEST}{self.id}"

    def job_ids(self, lanes: Sequence[Lane], nonce: str | None = None) -> list[str]:
        """Return the ids of the jobs of the call that had `nonce`; None: of this call."""
        base = f"{self.id} {self.nonce if nonce is None else nonce}"
        return [
            f"{lane.name}.{hashlib.sha256(f'{base} {index}'.encode()).hexdigest()[:32]}"
            for index, lane in enumerate(lanes)
        ]


def _canonical(command: Command) -> list[object]:
    expires_in = None if command.expires_in is None else command.expires_in.total_seconds()
    return [command.lane.name, command.operation.params, command.priority, expires_in]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
