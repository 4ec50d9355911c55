"""Keeping still what a test looks at, for as long as it looks, so that it need not be faster than a worker."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from streamstop import Client
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.bad_network import BadNetwork, bad_network
from tests.support.polling import eventually
from tests.support.workers import accounts_toml
from tests.support.world import World

#: The environment of workers whose calls last until their answers are released.
PATIENT_CALLS = {"STREAMSTOP_CALL_TIMEOUT": "120"}


def await_nothing_in_flight(client: Client, account: str) -> None:
    """Wait until every job that a worker had taken has ended, or is in its lane again. Pause the account first."""
    eventually(lambda: all(lane.in_flight == 0 for lane in client.lanes(accounts=[account])), "nothing is in flight")


@contextmanager
def network_to_vendors(made: World, limits: dict[str, float] | None = None) -> Iterator[BadNetwork]:
    """Lead workers that start in the block to the vendors through a network, which can hold their answers.

    Calls that this process passes on late arrive together: the workers' `limits` should be below the vendors'.
    """
    with bad_network(urlsplit(made.simulator.url).port or 0) as network:
        made.accounts.write_text(accounts_toml(DEFAULT_ACCOUNTS, f"http://127.0.0.1:{network.port}", limits))
        yield network


@contextmanager
def held_answers(network: BadNetwork) -> Iterator[None]:
    """Keep every call under way that is sent in the block. Call timeouts go on: see PATIENT_CALLS."""
    network.holds_answers = True
    try:
        yield
    finally:
        network.holds_answers = False
