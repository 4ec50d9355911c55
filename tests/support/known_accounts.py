"""The accounts of running workers, as tests without workers publish them."""

from collections.abc import Mapping
from datetime import timedelta

from redis import Redis

from streamstop._core.constants import ACCOUNTS
from streamstop._redis.accounts import KnownAccounts

_HOUR = timedelta(hours=1)


def publish_for_an_hour(redis: Redis, vendors: Mapping[str, str]) -> None:
    """Publish accounts (names to vendors) that slow processes still find; a worker would publish them each 15 s."""
    KnownAccounts(redis).publish(vendors)
    for name, vendor in vendors.items():
        redis.zincrby(ACCOUNTS, _HOUR.total_seconds(), f"{name} {vendor}")
    redis.expire(ACCOUNTS, _HOUR)
