"""Log lines in logfmt."""

import pytest

from streamstop._core.logfmt import logfmt_line
from streamstop_worker.settings import WorkerSettings


def test_a_line_is_pairs_with_the_moment_the_level_and_the_event_first() -> None:
    event = {
        "job_id": "live-cn.live.StopMPUTask.1f",
        "attempt": 1,
        "request_id": None,
        "message": 'no "way" = \\o/\nat all',
        "params": {"TaskId": "t"},
        "ok": True,
        "empty": "",
        "city": "Köln",
        "odd key=": 0.5,
        "event": "the lane is failing and rests",
        "level": "warning",
        "timestamp": "2026-01-01T00:00:00Z",
    }
    assert logfmt_line(event) == (
        'timestamp=2026-01-01T00:00:00Z level=warning event="the lane is failing and rests" '
        "job_id=live-cn.live.StopMPUTask.1f attempt=1 request_id=null "
        r'message="no \"way\" = \\o/\nat all" params="{\"TaskId\": \"t\"}" ok=true empty="" city=Köln odd_key_=0.5'
    )


@pytest.mark.parametrize("log_format", ["auto", "json", "logfmt", "text"])
def test_each_format_can_be_set(log_format: str) -> None:
    assert WorkerSettings.from_environ({"STREAMSTOP_LOG_FORMAT": log_format}).log_format == log_format
