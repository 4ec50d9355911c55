"""The tests of a module share one world; each has tasks and lanes of its own."""

from collections.abc import Iterator

import pytest

from tests.support.world import World, world


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a world with one worker."""
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made
