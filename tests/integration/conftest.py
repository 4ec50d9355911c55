"""What the tests on a real Redis share."""

import pytest

from tests.support.polling import TIMEOUT_S


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients, and the processes that a test starts, wait for Redis far longer than it ever stands still."""
    monkeypatch.setenv("STREAMSTOP_REDIS_TIMEOUT", f"{TIMEOUT_S:g}")


@pytest.fixture
def news_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waits look again after an hour only: what they hear in a test, they hear by news, however slow it is."""
    monkeypatch.setattr("streamstop._redis.waiting.LOOK_AGAIN_S", 3600.0)
