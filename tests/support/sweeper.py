"""The sweep of a worker that has one account, on a real Redis."""

from datetime import timedelta
from functools import partial
from pathlib import Path

from redis import Redis

from streamstop._redis.accounts import KnownAccounts
from streamstop._redis.batches import Batches
from streamstop._redis.controls import ControlStore
from streamstop._redis.lanes import Lanes
from streamstop._redis.schedule import Schedule
from streamstop._redis.shutdown_views import ShutdownViews
from streamstop_worker.accounts import Accounts
from streamstop_worker.pipeline.pacing import book_of
from streamstop_worker.shutdowns.ended import log_ended
from streamstop_worker.upkeep.sweep import Sweeper

LEASE = timedelta(seconds=5)
_ACCOUNT = '[accounts.live-cn]\nvendor = "aliyun"\naccess_key_id = "id"\naccess_key_secret = "hush"\n'


def accounts_in(folder: Path) -> Accounts:
    """Return the accounts of a file with the account live-cn."""
    path = folder / "accounts.toml"
    path.write_text(_ACCOUNT)
    path.chmod(0o600)
    return Accounts(path, {})


def sweeper_of(redis: Redis, accounts: Accounts) -> Sweeper:
    """Return the sweep of a worker, whose book is published."""
    schedule, lanes = Schedule(redis), Lanes(redis)
    schedule.publish(book_of(accounts))
    return Sweeper(
        schedule,
        lanes,
        accounts,
        KnownAccounts(redis),
        ControlStore(redis),
        longest_lease=2 * LEASE,
        on_unserved=lambda _lanes: None,
        finish_batches=Batches(redis).finish,
        log_ended_shutdowns=partial(log_ended, ShutdownViews(redis, lanes)),
    )
