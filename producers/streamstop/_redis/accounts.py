"""Known accounts: the names that running workers publish, so that producers can refuse a wrong name at once.

Workers publish names and vendors, never a credential. A name expires a minute after a worker last published it.
"""

import difflib
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from streamstop._core.constants import ACCOUNTS
from streamstop.errors import UnknownAccount

#: How long a published name is valid.
PUBLISHED_FOR = timedelta(seconds=60)
#: How long a producer caches the accounts.
_CACHED_FOR = timedelta(seconds=10)
#: How many accounts an error lists.
_MAX_LISTED = 20


class KnownAccounts:
    """The accounts of the running workers. Raises redis-py's errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lock = threading.Lock()
        self._vendors: Mapping[str, str] = {}
        self._read_at = float("-inf")

    def publish(self, vendors: Mapping[str, str]) -> None:
        """Publish the accounts of this worker (names to vendors)."""
        if not vendors:
            return
        seconds = self._seconds()
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zadd(ACCOUNTS, {f"{name} {vendor}": seconds for name, vendor in vendors.items()})
        pipeline.zremrangebyscore(ACCOUNTS, "-inf", seconds - PUBLISHED_FOR.total_seconds())
        pipeline.expire(ACCOUNTS, PUBLISHED_FOR)
        try:
            pipeline.execute()
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            self._redis.delete(ACCOUNTS)  # another program wrote it while no worker ran
            raise

    def vendors(self) -> Mapping[str, str]:
        """Return the accounts of running workers: names to vendors; empty if no worker has published any."""
        seconds = self._seconds()
        members: Any = self._redis.zrangebyscore(ACCOUNTS, seconds - PUBLISHED_FOR.total_seconds(), "+inf")
        return dict(member.decode().split(" ", 1) for member in members)

    def vendor_of(self, account: str) -> str | None:
        """Return the vendor of `account`; None if no worker has published any account.

        Raises :class:`~streamstop.errors.UnknownAccount` if workers have published accounts, but not this one.
        """
        with self._lock:
            known, fresh = self._vendors, time.monotonic() - self._read_at < _CACHED_FOR.total_seconds()
        if not fresh or account not in known:  # a worker may have published it since
            known = self.vendors()  # without the lock, so that threads do not wait for each other's timeouts
            with self._lock:
                self._vendors, self._read_at = known, time.monotonic()
        return vendor_among(known, account)

    def _seconds(self) -> int:
        reply: Any = self._redis.time()
        return int(reply[0])


def vendor_among(known: Mapping[str, str], account: str) -> str | None:
    """Return the vendor of `account` in `known` (names to vendors); None if `known` is empty.

    Raises :class:`~streamstop.errors.UnknownAccount`, which suggests similar names and lists the accounts.
    """
    if not known:
        return None
    if account not in known:
        near = difflib.get_close_matches(account, known, n=3)
        suggestion = f"did you mean {', '.join(near)}? " if near else ""
        raise UnknownAccount(
            f"no running worker has account {account!r} ({suggestion}accounts: {_listed(known)})", field="account"
        )
    return known[account]


def _listed(known: Mapping[str, str]) -> str:
    names = sorted(known)
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def check_vendor(account: str, actual: str | None, vendor: str) -> None:
    """Raise :class:`~streamstop.errors.UnknownAccount` if the account's vendor is known and is not `vendor`."""
    if actual is not None and actual != vendor:
        raise UnknownAccount(
            f"account {account!r} is at vendor {actual} and cannot run an operation of {vendor}", field="account"
        )
