"""Accounts on both sides: as workers have them, and as the simulated vendors know them."""

from collections.abc import Iterable

import streamstop_simulator
from streamstop_worker.accounts import Account

#: The simulator's accounts, as a worker has them.
DEFAULT_ACCOUNTS = tuple(
    Account(
        one.name,
        one.vendor,
        one.access_key_id,
        one.access_key_secret,
        region="ap-singapore" if one.vendor == "tencent" else None,
    )
    for one in streamstop_simulator.DEFAULT_ACCOUNTS
)


def at_vendors(accounts: Iterable[Account]) -> list[streamstop_simulator.Account]:
    """Return what the simulated vendors know of workers' accounts."""
    return [
        streamstop_simulator.Account(
            one.name,
            "tencent" if one.vendor == "tencent" else "aliyun",
            one.access_key_id,
            one.access_key_secret,
            one.security_token,
            dict(one.limits),
        )
        for one in accounts
    ]
