"""Checks of pauses, limits and holds that somebody may have forgotten, and of dead letters."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from streamstop._core.controls import Hold, Limit, Pause
from streamstop._core.durations import duration_text
from streamstop._core.findings import Finding, note, ok, problem
from streamstop.outcomes import Result

#: A control that is older may have been forgotten.
_LONG = timedelta(days=1)


def check_pauses(pauses: Sequence[Pause], now: datetime) -> Iterator[Finding]:
    """Check that no pause is older than a day."""
    for pause in pauses:
        text = pause_text(pause, now)
        if now - pause.at > _LONG:
            do = f"resume it if nobody needs the pause: streamstop resume {pause.scope}"
            yield problem("controls.pauses", text, do, scope=pause.scope)
        else:
            yield note("controls.pauses", text, scope=pause.scope)


def check_holds(holds: Sequence[Hold], now: datetime) -> Iterator[Finding]:
    """Check that no account's key is refused."""
    for hold in holds:
        yield hold_finding("controls.holds", hold, now)


def check_limits(limits: Sequence[Limit], now: datetime) -> Iterator[Finding]:
    """Show each limit that somebody has set."""
    for limit in limits:
        lane = f"{limit.account} {limit.operation}"
        text = f"{lane} has a limit of {limit.limit:g} calls/s {_since(limit.at, now)}, set by {limit.by}"
        do = f"streamstop limit clear {lane}" if now - limit.at > _LONG else None
        yield note("controls.limits", text + _because(limit.reason), do, account=limit.account)


def check_dead_letters(counts: Mapping[Result | None, int]) -> Iterator[Finding]:
    """Check that there is no dead letter; `counts` by result, None: of messages that could not be read."""
    total = sum(counts.values())
    if not total:
        yield ok("dead_letters", "there is no dead letter")
        return
    named = {"unreadable" if result is None else result.value: count for result, count in counts.items() if count}
    listed = ", ".join(f"{count} {result}" for result, count in sorted(named.items()))
    do = "look at them, then requeue or drop them: streamstop dead list"
    yield problem("dead_letters", f"jobs wait for a person as dead letters: {listed}", do, **named)


def pause_text(pause: Pause, now: datetime) -> str:
    """Return what is paused, since when, by whom, until when and why."""
    until = "" if pause.until is None else f", until {pause.until:%Y-%m-%d %H:%M} UTC"
    return f"{pause.scope} is paused {_since(pause.at, now)} by {pause.by}{until}{_because(pause.reason)}"


def hold_finding(check: str, hold: Hold, now: datetime) -> Finding:
    """Return the problem of an account that is held: since when, why, what it does, and how it ends."""
    answer = ": ".join(part for part in (hold.code, hold.message) if part)
    left = (hold.next_probe or now) - now
    probe = f"in {duration_text(left)}" if left > timedelta(0) else "now"
    text = (
        f"account {hold.account} is held {_since(hold.at, now)}: its vendor refuses the key ({answer}); its jobs wait, "
        f"and one a minute is called as a probe: the next is due {probe}"
    )
    do = (
        "put a valid key into the accounts file, and send the workers SIGHUP; the next probe ends the hold; to try at "
        f"once: streamstop resume {hold.account}"
    )
    return problem(check, text, do, account=hold.account)


def _since(at: datetime, now: datetime) -> str:
    return f"since {at:%Y-%m-%d %H:%M} UTC ({duration_text((now - at).total_seconds())})"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
