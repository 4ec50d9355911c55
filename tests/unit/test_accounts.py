"""Accounts: how the file is read, and read again."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from streamstop.errors import InvalidSettings
from streamstop_worker import accounts_file
from streamstop_worker.accounts import Account, Accounts, load_accounts
from streamstop_worker.accounts_file import AccountsFile
from streamstop_worker.credentials import Sources
from tests.support.accounts_files import ALIYUN, EXAMPLE, TENCENT, secret_file


def test_every_key_is_read(accounts_file: Path) -> None:
    accounts_file.write_text(
        ALIYUN
        + 'security_token = "token"\nregion = "cn-shanghai"\nendpoint = "https://live-vpc.cn-shanghai.aliyuncs.com/"\n'
        'signature = "v1"\n[accounts.live-cn.limits]\n"live.StopMPUTask" = 8\n"live.GetMPUTaskStatus" = 0.5\n' + TENCENT
    )
    assert load_accounts(accounts_file, {}) == {
        "live-cn": Account(
            "live-cn",
            "aliyun",
            "LTAI-id",
            "hush-hush",
            "token",
            "cn-shanghai",
            "https://live-vpc.cn-shanghai.aliyuncs.com",
            "v1",
            {"live.StopMPUTask": 8.0, "live.GetMPUTaskStatus": 0.5},
        ),
        "trtc": Account("trtc", "tencent", "AKID", "hush-hush", region="ap-singapore"),
    }


def test_keys_that_are_left_out_have_their_defaults(accounts_file: Path) -> None:
    accounts_file.write_text(ALIYUN)
    assert load_accounts(accounts_file, {}) == {"live-cn": Account("live-cn", "aliyun", "LTAI-id", "hush-hush")}


def test_each_secret_may_come_from_the_environment_or_a_file(accounts_file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-file\n")
    (tmp_path / "token").write_text("token-file\r\n")
    accounts_file.write_text(
        '[accounts.a]\nvendor = "aliyun"\naccess_key_id = { env = "KEY" }\naccess_key_secret = { file = "secret" }\n'
        f'security_token = {{ file = "{tmp_path}/token" }}'
    )
    account = load_accounts(accounts_file, {"KEY": "from-env"})["a"]
    secrets = (account.access_key_id, account.access_key_secret, account.security_token)
    assert secrets == ("from-env", "from-file", "token-file")


def test_the_example_is_read() -> None:
    variables = ["LIVE_CN_KEY_ID", "LIVE_CN_KEY_SECRET", "LIVE_CN_TOKEN", "TRTC_SG_SECRET_ID", "TRTC_SG_SECRET_KEY"]
    accounts = load_accounts(EXAMPLE, {name: f"{name}-value" for name in variables})
    assert [(account.name, account.vendor) for account in accounts.values()] == [
        ("live-cn", "aliyun"),
        ("trtc-sg", "tencent"),
    ]
    assert accounts["live-cn"].limits == {"live.StopMPUTask": 8.0}


def test_no_repr_shows_a_secret(accounts_file: Path) -> None:
    accounts_file.write_text(ALIYUN + 'security_token = "hush-token"')
    accounts = Accounts(accounts_file, {"OTHER": "hush-env"})
    for shown in (repr(accounts), repr(accounts.get("live-cn")), repr(load_accounts(accounts_file, {}))):
        assert "hush" not in shown
        assert "LTAI-id" not in shown


def test_neither_a_validation_error_nor_a_table_shows_a_secret(tmp_path: Path) -> None:
    table = {"vendor": "aliyun", "access_key_id": "hush-id", "access_key_secret": "hush-hush", "security_token": "hush"}
    sources = Sources(tmp_path, {"OTHER": "hush-env"})
    shown = repr(AccountsFile.model_validate({"accounts": {"a": table}}, context=sources)) + repr(sources)
    for wrong in ({"access_key_secret": {"hush": 1}}, {"region": "hush hush"}, {"endpoint": "hush"}, {"other": "hush"}):
        with pytest.raises(ValidationError) as raised:
            AccountsFile.model_validate({"accounts": {"a": table | wrong}}, context=sources)
        shown += str(raised.value) + repr(raised.value) + accounts_file.complaint(raised.value)
    assert "hush" not in shown


@pytest.mark.parametrize("name", ["a", "0", "live-cn", "live_cn-2", "a" * 63])
def test_a_name_may_have_63_of_the_allowed_characters(accounts_file: Path, name: str) -> None:
    accounts_file.write_text(ALIYUN.replace("live-cn", name))
    assert list(load_accounts(accounts_file, {})) == [name]


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://live.aliyuncs.com",
        "https://live.aliyuncs.com:8443",
        "http://localhost:8080",
        "http://127.0.0.1:8080",
        "http://127.1.2.3",
        "http://[::1]:8080",
        "https://[2001:db8::1]",
    ],
)
def test_an_endpoint_is_https_or_on_loopback(accounts_file: Path, endpoint: str) -> None:
    accounts_file.write_text(ALIYUN + f'endpoint = "{endpoint}"')
    account = load_accounts(accounts_file, {})["live-cn"]
    assert account.origin("ignored") == endpoint


def test_without_an_endpoint_the_products_host_is_called(accounts_file: Path) -> None:
    accounts_file.write_text(ALIYUN)
    assert load_accounts(accounts_file, {})["live-cn"].origin("rtc.aliyuncs.com") == "https://rtc.aliyuncs.com"


def test_a_reload_takes_over_the_file_the_environment_and_the_secret_files(accounts_file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("old-secret")
    environ = {"KEY": "old-id"}
    accounts_file.write_text(secret_file("secret").replace('"LTAI-id"', '{ env = "KEY" }'))
    accounts = Accounts(accounts_file, environ)
    (tmp_path / "secret").write_text("new-secret")
    environ["KEY"] = "new-id"
    accounts_file.write_text(accounts_file.read_text() + TENCENT)
    before = accounts.get("live-cn")
    assert before is not None
    assert before.access_key_id == "old-id"
    accounts.reload()
    after = accounts.get("live-cn")
    assert after is not None
    assert (after.access_key_id, after.access_key_secret) == ("new-id", "new-secret")
    assert list(accounts.names) == ["live-cn", "trtc"]


def test_a_reload_with_a_mistake_keeps_the_accounts_that_work(accounts_file: Path) -> None:
    accounts_file.write_text(ALIYUN)
    accounts = Accounts(accounts_file, {})
    accounts_file.write_text(ALIYUN + "region = 5")
    with pytest.raises(InvalidSettings, match="region"):
        accounts.reload()
    assert list(accounts.names) == ["live-cn"]
    assert accounts.get("live-cn") == Account("live-cn", "aliyun", "LTAI-id", "hush-hush")


def test_an_account_that_is_not_in_the_file_is_none(accounts_file: Path) -> None:
    accounts_file.write_text(ALIYUN)
    assert Accounts(accounts_file, {}).get("other") is None


def test_one_key_in_two_regions_of_tencent_is_two_accounts(accounts_file: Path) -> None:
    accounts_file.write_text(TENCENT + TENCENT.replace("trtc", "trtc-2").replace("ap-singapore", "ap-bangkok"))
    assert list(load_accounts(accounts_file, {})) == ["trtc", "trtc-2"]
