"""Accounts: every mistake in the file is one sentence that names the file and the key."""

from pathlib import Path

import pytest

from streamstop.errors import InvalidSettings
from streamstop_worker.accounts import load_accounts
from tests.support.accounts_files import ALIYUN, TENCENT, complaint, secret_file


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "accounts: is required: at least one table such as [accounts.live-cn]"),
        (b"[accounts]", "accounts: must be at least one table such as [accounts.live-cn]"),
        (b"\xff", "is not UTF-8 text"),
        (b"[accounts", "is not valid TOML: Expected ']'"),
        (b"a = 1\nb = = 2", "is not valid TOML: Invalid value (at line 2, column 5)"),
        (b"a = " + b"[" * 100_000, "is not valid TOML"),
        (b"a = 2025-02-30", "is not valid TOML"),
        (b"accounts = 5", "accounts: must be at least one table"),
        (b"[account.live-cn]", "account: is not a key of this table; allowed: accounts"),
        (b"[accounts]\nlive-cn = 5", "accounts.live-cn: must be a table"),
    ],
)
def test_a_file_that_is_not_an_accounts_file_is_a_mistake(accounts_file: Path, content: bytes, expected: str) -> None:
    assert complaint(accounts_file, content).startswith(expected)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("live-cn", '"live.cn"', 'accounts."live.cn": must be named with 1 to 63 of a-z, 0-9, _ and -'),
        ("live-cn", "Live", "accounts.Live: must be named with"),
        ("live-cn", "-live", "accounts.-live: must be named with"),
        ("live-cn", "a" * 64, f"accounts.{'a' * 64}: must be named with"),
        ("live-cn", '""', 'accounts."": must be named with'),
        ("live-cn", '"a\\n"', 'accounts."a\\n": must be named with'),
        ("live-cn", "live.cn", "accounts.live.cn: is not a key of this table; allowed: vendor, access_key_id"),
        ('vendor = "aliyun"', "", 'accounts.live-cn.vendor: is required: "aliyun" or "tencent"'),
        ('"aliyun"', '"aws"', 'accounts.live-cn.vendor: must be "aliyun" or "tencent"'),
        ('"aliyun"', "5", 'accounts.live-cn.vendor: must be "aliyun" or "tencent"'),
        ('access_key_id = "LTAI-id"', "", "accounts.live-cn.access_key_id: is required: "),
        ('access_key_secret = "hush-hush"', "", "accounts.live-cn.access_key_secret: is required: "),
        ("access_key_id", "acces_key_id", "accounts.live-cn.acces_key_id: is not a key of this table; allowed: vendor"),
        ('"LTAI-id"', "5", 'accounts.live-cn.access_key_id: must be "…", { env = "VARIABLE" } or { file ='),
        ('"LTAI-id"', "{}", 'accounts.live-cn.access_key_id: must be "…", {'),
        ('"LTAI-id"', "{ env = 5 }", 'accounts.live-cn.access_key_id: must be "…", {'),
        ('"LTAI-id"', '{ env = "A", file = "b" }', 'accounts.live-cn.access_key_id: must be "…", {'),
        ('"LTAI-id"', '{ vault = "A" }', 'accounts.live-cn.access_key_id: must be "…", {'),
        ('"hush-hush"', '""', "accounts.live-cn.access_key_secret: is empty"),
        ('"hush-hush"', '"hush-hush\\n"', "accounts.live-cn.access_key_secret: must hold printable ASCII"),
        ('"hush-hush"', '"hush-hush é"', "accounts.live-cn.access_key_secret: must hold printable ASCII"),
        ('"hush-hush"', '" hush-hush"', "accounts.live-cn.access_key_secret: must hold printable ASCII"),
    ],
)
def test_a_mistake_in_an_account_names_its_key(accounts_file: Path, old: str, new: str, expected: str) -> None:
    assert old in ALIYUN
    assert complaint(accounts_file, ALIYUN.replace(old, new)).startswith(expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("region = 5", 'region: must be a region such as "cn-shanghai"'),
        ('region = ""', "region: must be a region"),
        ('region = "a b"', "region: must be a region"),
        ('signature = "v2"', 'signature: must be "v3" or "v1"'),
        ("signature = 3", 'signature: must be "v3" or "v1"'),
        ('security_token = ""', "security_token: is empty"),
        ('security_token = { env = "UNSET" }', "security_token: the environment variable UNSET is not set"),
        ('security_token = { env = "EMPTY" }', "security_token: the environment variable EMPTY is empty"),
        ('security_token = { env = "hush-hush" }', "security_token: env must be the name of an environment variable"),
        ("limits = 5", "limits: must be a table"),
    ],
)
def test_a_mistake_in_an_optional_key_is_reported_too(accounts_file: Path, line: str, expected: str) -> None:
    assert complaint(accounts_file, ALIYUN + line, {"EMPTY": ""}).startswith(f"accounts.live-cn.{expected}")


@pytest.mark.parametrize(
    "endpoint",
    [
        "5",
        '""',
        '"live.aliyuncs.com"',
        '"ftp://live.aliyuncs.com"',
        '"https://"',
        '"https://live.aliyuncs.com/path"',
        '"https://live.aliyuncs.com?query=1"',
        '"https://live.aliyuncs.com#fragment"',
        '"https://user:hush-hush@live.aliyuncs.com"',
        '"https://live.aliyuncs.com:0"',
        '"https://live.aliyuncs.com:65536"',
        '"https://live..aliyuncs.com"',
        '"https://-live.aliyuncs.com"',
        '"https://[::1"',
        '"https://[:::::]"',
        '"https://live.aliyuncs.com\\n"',
        '" https://live.aliyuncs.com"',
        '"https://lïve.aliyuncs.com"',
    ],
)
def test_an_endpoint_is_nothing_but_scheme_host_and_port(accounts_file: Path, endpoint: str) -> None:
    message = complaint(accounts_file, ALIYUN + f"endpoint = {endpoint}")
    assert message.startswith('accounts.live-cn.endpoint: must be "https://<host>" or "https://<host>:<port>"')


@pytest.mark.parametrize("host", ["live.aliyuncs.com", "10.0.0.1", "localhost.evil.com", "[2001:db8::1]", "127.1"])
def test_plain_http_is_refused_off_loopback(accounts_file: Path, host: str) -> None:
    message = complaint(accounts_file, ALIYUN + f'endpoint = "http://{host}"')
    assert message.startswith('accounts.live-cn.endpoint: must begin with "https://"')


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf", "-inf", "true", '"8"', "1e-9", "1e9", "[8]"])
def test_a_limit_is_a_positive_number_within_reason(accounts_file: Path, limit: str) -> None:
    message = complaint(accounts_file, ALIYUN + f'limits = {{ "live.StopMPUTask" = {limit} }}')
    assert message == (
        'accounts.live-cn.limits."live.StopMPUTask": must be a number of calls per second from 0.001 to 100000'
    )


def test_a_limit_of_an_unknown_operation_names_the_nearest(accounts_file: Path) -> None:
    message = complaint(accounts_file, ALIYUN + 'limits = { "live.StopMPUTsk" = 8 }')
    assert message.startswith('accounts.live-cn.limits."live.StopMPUTsk": operation ')
    assert "live.StopMPUTask" in message


def test_a_limit_of_another_vendors_operation_is_a_mistake(accounts_file: Path) -> None:
    message = complaint(accounts_file, ALIYUN + 'limits = { "trtc.StopStreamIngest" = 8 }')
    assert message == (
        'accounts.live-cn.limits: "trtc.StopStreamIngest" is an operation of vendor "tencent", '
        'and this account\'s is "aliyun"'
    )


def test_an_operation_without_quotes_is_told_to_be_quoted(accounts_file: Path) -> None:
    message = complaint(accounts_file, ALIYUN + "limits = { live.StopMPUTask = 8 }")
    assert message == (
        'accounts.live-cn.limits.live: must be a number; put the operation\'s id in quotes: "live.StopMPUTask" = 8'
    )


def test_tencent_needs_a_region(accounts_file: Path) -> None:
    message = complaint(accounts_file, TENCENT.replace('region = "ap-singapore"', ""))
    assert message.startswith('accounts.trtc.region: is required for vendor "tencent": the X-TC-Region')


def test_tencent_knows_one_signature_only(accounts_file: Path) -> None:
    message = complaint(accounts_file, TENCENT + 'signature = "v3"')
    assert message == 'accounts.trtc.signature: is only for vendor "aliyun"; leave it out'


@pytest.mark.parametrize("secret", ['{ env = "LTAIhushHush1" }', '{ env = "hush_hush" }'])
def test_a_secret_in_the_place_of_its_variables_name_is_not_repeated(accounts_file: Path, secret: str) -> None:
    message = complaint(accounts_file, ALIYUN.replace('"hush-hush"', secret))
    assert message == "accounts.live-cn.access_key_secret: the environment variable that it names is not set"


def test_a_secret_in_the_place_of_its_files_name_is_not_repeated(accounts_file: Path) -> None:
    message = complaint(accounts_file, ALIYUN.replace('"hush-hush"', '{ file = "hush-hush" }'))
    assert (
        message
        == "accounts.live-cn.access_key_secret: the file that it names cannot be read: No such file or directory"
    )


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_a_secret_file_that_is_empty_is_a_mistake(accounts_file: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert (
        complaint(accounts_file, secret_file("secret"))
        == "accounts.live-cn.access_key_secret: the file secret is empty"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing", "cannot be read: No such file or directory"),
        (".", "cannot be read: Is a directory"),
        ("/dev/zero", "is too long for a credential"),
    ],
)
def test_a_secret_file_that_cannot_be_read_is_a_mistake(accounts_file: Path, name: str, expected: str) -> None:
    message = complaint(accounts_file, secret_file(name))
    assert message.startswith("accounts.live-cn.access_key_secret: the file ")
    assert message.endswith(expected)


def test_a_secret_file_of_bytes_is_a_mistake_that_repeats_none(accounts_file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"hush-hush\xff")
    message = complaint(accounts_file, secret_file("secret"))
    assert message == "accounts.live-cn.access_key_secret: file must be the path of a text file"


def test_a_secret_file_with_two_lines_is_a_mistake(accounts_file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush-hush\nhush-hush\n")
    assert complaint(accounts_file, secret_file("secret")).startswith(
        "accounts.live-cn.access_key_secret: the file secret must hold printable ASCII"
    )


@pytest.mark.parametrize(("name", "expected"), [("none.toml", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(InvalidSettings) as raised:
        load_accounts(tmp_path / name, {})
    assert str(raised.value) == f"{tmp_path / name}: cannot be read: {expected}"


def test_one_key_under_two_names_is_a_mistake_for_a_limit_holds_for_both(accounts_file: Path) -> None:
    twice = ALIYUN + ALIYUN.replace("live-cn", "live-twin")
    assert (
        complaint(accounts_file, twice)
        == "accounts.live-twin.access_key_id: is also the key of account live-cn: name each key once"
    )
