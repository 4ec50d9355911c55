"""The tests of a module share one world; each has tasks and lanes of its own."""

from collections.abc import Iterator

import pytest

from tests.support.bad_network import BadNetwork
from tests.support.celery_tools import start_worker_that_answers
from tests.support.dead_letter_world import ENVIRON, LIMITS, dead_letters
from tests.support.still import PATIENT_CALLS, network_to_vendors
from tests.support.world import TENCENT, World, world


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a world with one worker."""
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture(scope="module")
def dead_letter_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a world of two workers."""
    with world(tmp_path_factory.mktemp("dead-letters"), workers=2, limits=LIMITS, environ=ENVIRON) as made:
        made.await_account(TENCENT)
        yield made


@pytest.fixture(scope="module")
def celery_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, BadNetwork]]:
    """Return a world whose worker has answered Celery's remote control, and the network between it and the vendors."""
    with (
        world(tmp_path_factory.mktemp("celery"), workers=0, environ=PATIENT_CALLS) as made,
        network_to_vendors(made) as network,
    ):
        made.simulator.settings(auto_start=True)
        start_worker_that_answers(made, "-E", "-c", "40")
        yield made, network


@pytest.fixture(scope="module")
def celery_world(celery_parts: tuple[World, BadNetwork]) -> World:
    """Return the module's world whose worker answers Celery's tools."""
    return celery_parts[0]


@pytest.fixture(scope="module")
def network(celery_parts: tuple[World, BadNetwork]) -> BadNetwork:
    """Return the network through which the worker of `celery_world` calls the vendors."""
    return celery_parts[1]


@pytest.fixture
def clean_world(dead_letter_world: World) -> Iterator[World]:
    """Return the module's world without dead letters, and remove those that the test leaves."""
    try:
        yield dead_letter_world
        assert [one.process.poll() for one in dead_letter_world.workers] == [None, None]
        assert [letter.id for letter in dead_letters(dead_letter_world)] == []
    finally:
        dead_letter_world.simulator.clear_faults()
        for letter in dead_letters(dead_letter_world):
            dead_letter_world.client.dead_letters.drop(letter.id)
