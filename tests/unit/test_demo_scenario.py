"""The demo's scenario contains what it promises to show."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamstop import Result
from streamstop_simulator.demo.accounts_file import accounts_toml
from streamstop_simulator.demo.broker import without_password
from streamstop_simulator.demo.interrupt import Interrupted, interrupts
from streamstop_simulator.demo.scenario import ACCOUNTS, LANES, Fate, quick
from streamstop_worker.accounts import load_accounts

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def test_the_scene_is_some_200_tasks_over_three_accounts_at_two_vendors() -> None:
    assert 180 <= sum(len(scene.tasks()) for scene in LANES) <= 240
    assert {scene.account for scene in LANES} == {account.name for account in ACCOUNTS}
    assert {account.vendor for account in ACCOUNTS} == {"aliyun", "tencent"}


def test_the_longest_lane_takes_some_ten_seconds() -> None:
    assert 8 <= max(scene.count / scene.limit for scene in LANES) <= 13


def test_tasks_end_by_themselves_never_were_and_run() -> None:
    tasks = [task for scene in LANES for task in scene.tasks()]
    assert {(task.fate, task.expected) for task in tasks} == {
        (Fate.RUNS, Result.STOPPED),
        (Fate.ENDS, Result.ALREADY_STOPPED),
        (Fate.ENDS, Result.NOT_FOUND),
        (Fate.NEVER_WAS, Result.NOT_FOUND),
    }
    assert max(Counter((task.command.lane, task.command.operation) for task in tasks).values()) == 1


def test_the_quick_scene_is_about_a_quarter_of_the_tasks() -> None:
    small = [quick(lane) for lane in LANES]
    assert sum(len(lane.tasks()) for lane in small) <= sum(len(lane.tasks()) for lane in LANES) // 3
    assert all(lane.tasks() for lane in small)


def test_the_accounts_file_is_one_that_workers_take(tmp_path: Path) -> None:
    path = tmp_path / "accounts.toml"
    path.write_text(accounts_toml(ACCOUNTS, "http://127.0.0.1:8099"))
    loaded = load_accounts(path, {})
    assert [(name, account.vendor, account.access_key_id) for name, account in loaded.items()] == [
        (account.name, account.vendor, account.access_key_id) for account in ACCOUNTS
    ]
    assert {account.endpoint for account in loaded.values()} == {"http://127.0.0.1:8099"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("rediss://user:secret@redis.example.com:6380/2?password=secret", "rediss://redis.example.com:6380/2"),
        ("sentinel://:secret@one:26379;sentinel://:secret@two:26379", "sentinel://one:26379"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.fixture
def handlers() -> Iterator[list[object]]:
    """Return the handlers of the three signals, and restore them."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield list(before.values())
    for number, handler in before.items():
        signal.signal(number, handler)


def test_without_a_signal_the_handlers_are_restored(handlers: list[object]) -> None:
    with interrupts() as interrupt:
        interrupt.check()
    assert [signal.getsignal(number) for number in SIGNALS] == handlers


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_obeyed_where_it_is_asked_for_and_the_first_one_counts(number: int, code: int) -> None:
    with interrupts() as interrupt:
        interrupt.check()
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted) as raised:
            interrupt.check()
    assert raised.value.exit_code == code
    assert [signal.getsignal(number) for number in SIGNALS] == [signal.SIG_IGN] * 3, "none ends the program otherwise"
