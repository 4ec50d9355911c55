"""Known accounts: the names that running workers have published, so that producers can refuse a wrong one at once.

Workers publish names and vendors, never a credential. A name that no worker has published for a minute is forgotten.
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

#: How long a worker's word holds.
PUBLISHED_FOR = timedelta(seconds=60)
#: How long a producer trusts what it read.
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
        """Say that this worker has these accounts (name to vendor)."""
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
            self._redis.delete(ACCOUNTS)  # somebody put something else there while no worker ran
            raise

    def vendors(self) -> Mapping[str, str]:
        """Return account names to vendors, as running workers have them; empty where no worker has spoken."""
        seconds = self._seconds()
        members: Any = self._redis.zrangebyscore(ACCOUNTS, seconds - PUBLISHED_FOR.total_seconds(), "+inf")
        return dict(member.decode().split(" ", 1) for member in members)

    def vendor_of(self, account: str) -> str | None:
        """Return the vendor of `account`, or None where no worker has spoken.

        Raises :class:`~streamstop.errors.UnknownAccount` where workers have, and none has this account.
        """
        with self._lock:
            known, fresh = self._vendors, time.monotonic() - self._read_at < _CACHED_FOR.total_seconds()
        if not fresh or account not in known:  # a worker may have come with it since
            known = self.vendors()  # without the lock: where Redis does not answer, nobody waits for another's wait
            with self._lock:
                self._vendors, self._read_at = known, time.monotonic()
        return vendor_among(known, account)

    def _seconds(self) -> int:
        reply: Any = self._redis.time()
        return int(reply[0])


def vendor_among(known: Mapping[str, str], account: str) -> str | None:
    """Return the vendor of `account` by `known` (names to vendors), or None where nothing is known.

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
    """Raise :class:`~streamstop.errors.UnknownAccount` where the account's vendor is known, and not `vendor`."""
    if actual is not None and actual != vendor:
        raise UnknownAccount(
            f"account {account!r} is at vendor {actual}, and the operation at {vendor}", field="account"
        )
