"""Requests: the steps that accept the commands of a call with an idempotency key, and know the call again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from redis import Redis

from streamstop._core.constants import STAGED
from streamstop._core.lane_types import Queued
from streamstop._core.requests import REQUESTS_KEPT, UNDER_WAY_KEPT, Request
from streamstop._redis.errors import StagingLost
from streamstop._redis.scripts import Script, load
from streamstop._redis.staging import STAGING_LOST
from streamstop.errors import IdempotencyConflict, RequestUnderWay
from streamstop.settings import OUTCOMES_KEPT

#: How long a unique command's open job is recognised, in s. The worker that ends the job ends this sooner.
_UNIQUE_S = int(OUTCOMES_KEPT.total_seconds())
_KEPT_S = int(REQUESTS_KEPT.total_seconds())


@dataclass(frozen=True)
class OneJob:
    """A job that a script puts into its lane."""

    id: str
    queued: Queued
    #: Digest of a unique command; empty: it is not unique.
    digest: str
    #: When the command expires, in µs since the epoch; None: never.
    expires_at_us: int | None


@dataclass(frozen=True)
class Accepted:
    """What became of a request."""

    #: Whether this call has put the jobs into their lanes; False: an earlier call has.
    is_new: bool
    #: Of the call whose jobs they are.
    nonce: str
    #: The ids of the jobs, where they do not derive from the nonce.
    ids: Sequence[str]


class Requests:
    """The requests of one Redis. Its user must be allowed to run scripts. Raises redis-py's errors.

    Methods raise :class:`~streamstop.errors.IdempotencyConflict` and :class:`~streamstop.errors.RequestUnderWay`.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def enqueue(self, jobs: Sequence[OneJob], request: Request | None) -> Accepted:
        """Put jobs into their lanes, all in one step, unless the request was accepted before."""
        entries = [
            {
                "lane": job.queued.lane.name,
                "digest": job.digest,
                "id": job.id,
                "expires_at": "" if job.expires_at_us is None else job.expires_at_us,
                "list": job.queued.list,
                "message": job.queued.message,
            }
            for job in jobs
        ]
        reply = self._lane["enqueue"](
            keys=_checked(request),
            request="" if request is None else request.id,
            request_digest="" if request is None else request.digest,
            nonce="" if request is None else request.nonce,
            request_ttl=_KEPT_S,
            ttl=_UNIQUE_S,
            jobs=entries,
        )
        return _accepted(reply)

    def begin(self, request: Request) -> Accepted | None:
        """Note that a request is under way; return what an earlier call has accepted, or None."""
        ttl = int(UNDER_WAY_KEPT.total_seconds())
        reply = self._request["begin"](keys=_checked(request), **_named(request), ttl=ttl)
        accepted = _accepted(reply)
        return None if accepted.is_new else accepted

    def accept(self, request: Request, batch: str, entries: int) -> Accepted:
        """Accept a staged batch of so many entries. Raises :class:`StagingLost` if it was discarded."""
        keys = _checked(request)
        reply = self._request["accept"](keys=keys, **_named(request), ttl=_KEPT_S, batch=batch, entries=entries)
        return _accepted(reply)

    def forget(self, request: Request) -> None:
        """Forget a request that was begun and not accepted."""
        self._request["forget"](keys=_checked(request), **_named(request))

    @cached_property
    def _lane(self) -> dict[str, Script]:
        return load(self._redis, "lane")

    @cached_property
    def _request(self) -> dict[str, Script]:
        return load(self._redis, "request")


def _named(request: Request) -> dict[str, Any]:
    return {"id": request.id, "digest": request.digest, "nonce": request.nonce}


def _checked(request: Request | None) -> list[str]:
    """Return keys that a Redis user who may not enqueue cannot use: Redis refuses the script before it begins."""
    return [STAGED] if request is None else [STAGED, request.redis_key]


def _accepted(reply: Sequence[bytes]) -> Accepted:
    state, nonce, ids = [*(part.decode() for part in reply), "", ""][:3]
    match state:
        case "other":
            raise IdempotencyConflict("the idempotency key was used within a day for other commands")
        case "pending":
            raise RequestUnderWay("a request with this idempotency key is still under way: make it again in a second")
        case "lost":
            raise StagingLost(STAGING_LOST)
        case _:
            return Accepted(state == "new", nonce, ids.split())
