"""The result of one invariant's check."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Finding:
    """One invariant: whether it held, what broke it, and what a fault explains."""

    name: str
    broken: list[str] = field(default_factory=list)
    #: What would break it without a fault that explains it, and how often.
    apart: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        """Whether it held."""
        return not self.broken
