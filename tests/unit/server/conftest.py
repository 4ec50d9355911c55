"""Fixtures of the HTTP service's unit tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_app import NOWHERE, HttpApp, http_app


@pytest.fixture
def service(tmp_path: Path) -> Iterator[HttpApp]:
    """Return a service that reaches no Redis."""
    with http_app(NOWHERE, tmp_path) as running:
        yield running
