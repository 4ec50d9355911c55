"""Check of the environment: a misspelt variable would be ignored in silence."""

import difflib
from collections.abc import Iterable, Iterator

from streamstop._core.findings import Finding, ok, problem

_PREFIX = "STREAMSTOP_"
#: Every setting, as the reference lists them.
_NAMES = (
    *("REDIS_URL", "REDIS_MASTER", "REDIS_TIMEOUT", "REDIS_REPLICAS", "ROOM_KEPT", "ROOM_CLOSED_FOR", "ACCOUNTS"),
    *("CONCURRENCY", "CALL_TIMEOUT", "OUTCOMES_KEPT", "VERIFY_TIMEOUT", "CALLBACK_SECRET", "LOG_FORMAT", "LOG_LEVEL"),
    *("METRICS_PORT", "METRICS_HOST"),
    *("SERVER_HOST", "SERVER_TOKENS", "SERVER_SECRET", "SERVER_ORIGINS", "SERVER_GRACE"),
)
SETTINGS = frozenset(_PREFIX + name for name in _NAMES)


def check_settings(names: Iterable[str]) -> Iterator[Finding]:
    """Check that every variable that begins with STREAMSTOP_ is a setting; `names` are those of the environment."""
    unknown = sorted(name for name in names if name.startswith(_PREFIX) and name not in SETTINGS)
    for name in unknown:
        near = difflib.get_close_matches(name.removeprefix(_PREFIX), _NAMES, n=1)
        do = f"did you mean {_PREFIX}{near[0]}?" if near else "remove it, or correct its name"
        yield problem("settings", f"{name} is set, and there is no such setting", do, variable=name)
    if not unknown:
        yield ok("settings", "every STREAMSTOP_ variable of this environment is a setting")
