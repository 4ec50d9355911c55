"""Account changes: what differs between two reads of the accounts file. No value of a credential is in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from streamstop.operations import OPERATIONS
from streamstop_worker.accounts import Account

#: The fields of an account that may be shown by name; their values may not.
_OTHERS = ("vendor", "region", "endpoint", "signature")


@dataclass(frozen=True)
class AccountChanges:
    """The names of the accounts that differ, sorted, and what differs."""

    added: Sequence[str]
    removed: Sequence[str]
    #: Account -> what differs: ``credentials``, or the name of another key.
    changed: Mapping[str, Sequence[str]]
    #: Limits of accounts that both have: ``live-cn live.StopMPUTask: 10 -> 8``.
    limits: Sequence[str]

    @property
    def fields(self) -> dict[str, object]:
        """What differs, for a log line; empty if nothing does."""
        return {name: value for name, value in vars(self).items() if value}

    @property
    def text(self) -> str:
        """What differs, for people; empty if nothing does."""
        parts = [
            *(
                f"{word}: {', '.join(names)}"
                for word, names in (("added", self.added), ("removed", self.removed))
                if names
            ),
            *(f"{name}: new {', '.join(what)}" for name, what in self.changed.items()),
            *self.limits,
        ]
        return "; ".join(parts)


def find_changes(old: Mapping[str, Account], new: Mapping[str, Account]) -> AccountChanges:
    """Return what differs between two reads: accounts by name."""
    both = sorted(old.keys() & new.keys())
    changed = {name: list(_changed_keys(old[name], new[name])) for name in both}
    return AccountChanges(
        added=sorted(new.keys() - old.keys()),
        removed=sorted(old.keys() - new.keys()),
        changed={name: what for name, what in changed.items() if what},
        limits=[line for name in both for line in _changed_limits(old[name], new[name])],
    )


def _changed_keys(old: Account, new: Account) -> Iterator[str]:
    if old.secrets != new.secrets or old.security_token != new.security_token:
        yield "credentials"
    yield from (key for key in _OTHERS if getattr(old, key) != getattr(new, key))


def _changed_limits(old: Account, new: Account) -> Iterator[str]:
    for operation in sorted(old.limits.keys() | new.limits.keys()):
        before, after = _limit(old, operation), _limit(new, operation)
        if before != after:
            yield f"{new.name} {operation}: {before:g} -> {after:g}"


def _limit(account: Account, operation: str) -> float:
    """Return the account's own limit, or else that of the vendor's page."""
    return account.limits.get(operation, OPERATIONS[operation].spec.limit)
