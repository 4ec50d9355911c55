"""The accounts that the simulator reads, from the workers' file and from its control API."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from streamstop.errors import InvalidSettings
from streamstop_simulator.accounts import DEFAULT_ACCOUNTS, Account, accounts_from_json, load_accounts

ROOT = Path(__file__).parents[2]
SECRET = "hush-secret"


def write(folder: Path, text: str) -> Path:
    path = folder / "accounts.toml"
    path.write_text(text)
    return path


def test_the_workers_file_is_read_with_secrets_from_the_environment_and_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token\n")
    path = write(
        tmp_path,
        """
        [accounts.live-cn]
        vendor = "aliyun"
        access_key_id = "key"
        access_key_secret = { env = "OWN_SECRET" }
        security_token = { file = "token" }
        signature = "v1"
        endpoint = "http://127.0.0.1:8099"
        [accounts.live-cn.limits]
        "live.StopMPUTask" = 8
        [accounts.trtc]
        vendor = "tencent"
        access_key_id = "key"
        access_key_secret = "secret"
        region = "ap-singapore"
        """,
    )
    assert load_accounts(path, {"OWN_SECRET": "own-secret"}) == [
        Account("live-cn", "aliyun", "key", "own-secret", "a-token", {"live.StopMPUTask": 8}),
        Account("trtc", "tencent", "key", "secret"),
    ]


def test_the_file_for_rehearsing_workers_holds_the_default_accounts() -> None:
    assert load_accounts(ROOT / "accounts.simulator.toml", {}) == list(DEFAULT_ACCOUNTS)


WHOLE = f'vendor = "aliyun"\naccess_key_id = "key"\naccess_key_secret = "{SECRET}"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[accounts", "is not valid TOML"),
        ("", "has no account"),
        ("accounts = 3", "has no account"),
        ("[accounts]\na = 3", "has no account"),
        (
            f"[accounts.a]\n{WHOLE}".replace("aliyun", "another"),
            "accounts.a.vendor: Input should be 'aliyun' or 'tencent'",
        ),
        (
            f'[accounts.a]\nvendor = "aliyun"\naccess_key_secret = "{SECRET}"',
            "a.access_key_id: Field required",
        ),
        (f"[accounts.a]\n{WHOLE}security_token = 3", "accounts.a.security_token: Input should be a valid string"),
        (
            f'[accounts.a]\n{WHOLE}[accounts.a.limits]\n"live.StopMPUTask" = 0',
            "limits.live.StopMPUTask: Input",
        ),
        (
            f'[accounts.a]\n{WHOLE}security_token = {{ env = "{SECRET}" }}',
            "token: the variable or file that it names cannot be read",
        ),
        (
            f'[accounts.a]\n{WHOLE}security_token = {{ file = "{SECRET}" }}',
            "token: the variable or file that it names cannot be read",
        ),
    ],
)
def test_a_mistake_is_named_by_its_place_and_no_secret_is_repeated(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(InvalidSettings) as failed:
        load_accounts(write(tmp_path, text), {})
    assert complaint in str(failed.value)
    assert SECRET not in str(failed.value)


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot be read: No such file"):
        load_accounts(tmp_path / "accounts.toml", {})


@pytest.mark.parametrize("more", [{"access_key_id": None}, {"unknown": SECRET}, {"limits": {"live.StopMPUTask": 0}}])
def test_an_entry_that_is_refused_is_refused_without_repeating_a_secret(more: dict[str, object]) -> None:
    entry = {"name": "a", "vendor": "aliyun", "access_key_id": "key", "access_key_secret": SECRET} | more
    with pytest.raises(ValidationError) as failed:
        accounts_from_json(json.dumps([entry, {"access_key_secret": SECRET}]).encode())
    assert SECRET not in str(failed.value)


def test_secrets_are_in_no_repr() -> None:
    assert SECRET not in repr(replace(DEFAULT_ACCOUNTS[0], access_key_secret=SECRET, security_token=SECRET))
