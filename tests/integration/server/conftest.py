"""Fixtures of the HTTP service's integration tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_app import HttpApp, http_app


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[HttpApp]:
    """Return a service on a real Redis. Its client sends a token for every scope."""
    with http_app(redis_url, tmp_path) as running:
        running.client.headers.update(running.bearer("everything"))
        yield running
