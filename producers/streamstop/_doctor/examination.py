"""Examination: reads the facts, part by part, and runs the checks. A part that cannot be read is a finding too."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import chain

from streamstop._core.backend import Backend, WaitInterval
from streamstop._core.commands import check_account as check_account_name
from streamstop._core.findings import ACCOUNT_CHECK, REACHABLE, Finding, ServerFacts, note, problem
from streamstop._core.lane_view import LaneView
from streamstop._doctor import controls, fleet, settings
from streamstop._doctor.account import check_account
from streamstop._doctor.durability import DURABILITY
from streamstop._doctor.server import SERVER
from streamstop._redis.errors import error_code
from streamstop.errors import QueueUnavailable

_PASSWORD = "put Redis' user name and password into STREAMSTOP_REDIS_URL"  # noqa: S105
_DO: Mapping[str | None, str] = {
    "AUTH": _PASSWORD,
    "NOAUTH": _PASSWORD,
    "DATABASE": "correct the number of the database in STREAMSTOP_REDIS_URL",
    "LOADING": "wait until Redis has loaded its data",
    "DENIED": "set a password for Redis, and put it into STREAMSTOP_REDIS_URL",
}
_START = "start Redis, or correct STREAMSTOP_REDIS_URL"


def examine(
    backend: Backend,
    lanes: Callable[[], Sequence[LaneView]],
    account: str | None,
    timeout: timedelta,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Finding | WaitInterval]:
    """Yield the findings, those about Redis first. If Redis does not answer, that is the only one about the queue.

    `lanes` returns the lanes that hold jobs. With `account`, its key is checked too, which takes `timeout` at most.
    """
    if account is not None:
        check_account_name(account)
    yield from settings.check_settings(environ)
    try:
        with backend.reaching("nothing else could be looked at"):
            facts = backend.fleet.server_facts()
    except QueueUnavailable as error:
        do = _DO.get(error_code(error.__cause__) if error.__cause__ else None, _START)
        yield problem(REACHABLE, error.reason or str(error), do)
        return
    yield from _about_server(facts)
    for part, check in (
        ("workers", _about_workers),
        ("lanes.served", lambda _backend: fleet.check_lanes(lanes())),
        ("controls", _about_controls),
        ("dead_letters", _about_dead_letters),
    ):
        yield from _readable(part, backend, check)
    if account is not None:
        try:
            yield from check_account(backend, account, timeout)
        except QueueUnavailable as error:
            do = "use a Redis user that may enqueue commands, such as the workers' user"
            yield problem(ACCOUNT_CHECK, f"the key of {account} was not checked: {error.reason or error}", do)


def _about_server(facts: ServerFacts) -> Iterator[Finding]:
    if facts.info is None:
        yield note("redis.settings", "Redis' settings are not known: this Redis user may not run INFO")
    elif facts.config is None:
        text = "when Redis writes to its disk is not fully known: this Redis user may not run CONFIG GET"
        yield note("redis.settings", text)
    yield from chain.from_iterable(check(facts) for check in (*DURABILITY, *SERVER))


def _about_workers(backend: Backend) -> Iterator[Finding]:
    workers = backend.fleet.workers()
    yield from chain.from_iterable(check(workers) for check in fleet.WORKERS)


def _about_controls(backend: Backend) -> Iterator[Finding]:
    now, found = backend.now(), backend.controls.read()
    yield from controls.check_pauses(list(found.pauses.values()), now)
    yield from controls.check_holds(list(found.holds.values()), now)
    yield from controls.check_limits(list(found.limits.values()), now)


def _about_dead_letters(backend: Backend) -> Iterator[Finding]:
    yield from controls.check_dead_letters(backend.dead.count_by_result())


def _readable(part: str, backend: Backend, check: Callable[[Backend], Iterator[Finding]]) -> Iterator[Finding]:
    """Run a check. If Redis refuses what it asks, say so."""
    try:
        with backend.reaching("it was not looked at"):
            findings = list(check(backend))
    except QueueUnavailable as error:
        yield problem(part, f"not known: {error.reason or error}", "use a Redis user that may read this")
    else:
        yield from findings
