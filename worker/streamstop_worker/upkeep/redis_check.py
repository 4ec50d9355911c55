"""Redis check: warns at the start of a worker of settings with which Redis can lose jobs. The worker starts anyway."""

from datetime import timedelta

import structlog
from redis import Redis

from streamstop._core.findings import Severity
from streamstop._doctor.durability import DURABILITY
from streamstop._redis.deadline import deadline
from streamstop._redis.errors import ERRORS
from streamstop._redis.server_facts import read_settings

#: The deadline of the whole check.
_TIMEOUT = timedelta(seconds=5)

_log = structlog.get_logger("streamstop")


def check(redis: Redis) -> None:
    """Log a warning for each setting of `redis` that can lose jobs, or one line at info if settings cannot be read."""
    try:
        with deadline(_TIMEOUT):
            facts = read_settings(redis)
    except ERRORS as error:
        _log.info("the settings of Redis cannot be read", error=type(error).__name__)
        return
    if facts.info is None:
        _log.info("the settings of Redis cannot be read", error=facts.refused["INFO"])
        return
    if facts.config is None:
        _log.info("the persistence settings of Redis cannot be read", error=facts.refused["CONFIG GET"])
    for check_setting in DURABILITY:
        for finding in check_setting(facts):
            if finding.severity is Severity.PROBLEM:
                _log.warning(f"{finding.text}: {finding.do}", **finding.facts)
