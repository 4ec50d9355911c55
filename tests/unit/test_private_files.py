"""Files with credentials that others may write or read: which stop a worker, which get a warning, and which neither."""

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from streamstop.errors import InvalidSettings
from streamstop_worker.accounts import Accounts, load_accounts

HEAD = '[accounts.a]\nvendor = "aliyun"\naccess_key_id = "LTAI-id"\n'
LITERAL = HEAD + 'access_key_secret = "hush-hush"\n'
IN_FILE = HEAD + 'access_key_secret = { file = "secret" }\n'
IN_VARIABLE = HEAD + 'access_key_secret = { env = "KEY" }\n'


@pytest.fixture(autouse=True)
def nobody_has_a_group_of_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name="everybody", gr_mem=[]))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "accounts.toml", LITERAL)


def written(path: Path, content: str, mode: int = 0o600) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


def complaint(file: Path) -> str:
    with pytest.raises(InvalidSettings) as raised:
        load_accounts(file, {"KEY": "from-env"})
    return str(raised.value)


def warnings(file: Path) -> list[tuple[str, str]]:
    with capture_logs() as logs:
        assert load_accounts(file, {"KEY": "from-env"}).keys() == {"a"}
    return [(line["event"], line["do"]) for line in logs]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_an_accounts_file_that_others_can_write_is_a_mistake(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert complaint(file) == (
        f"{file}: can be written by other users (mode {mode:04o}), who could put their own in it: chmod go-w {file}"
    )


def test_a_secret_file_that_others_can_write_is_a_mistake(tmp_path: Path, file: Path) -> None:
    file.write_text(IN_FILE)
    secret = written(tmp_path / "secret", "hush-hush", 0o622)
    assert complaint(file).startswith(
        f"{file}: accounts.a.access_key_secret: the file {secret} can be written by other users (mode 0622)"
    )


def a_stranger(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file belong to another user than the worker's, and not to root."""
    if os.geteuid() == 0:
        os.chown(path, 1234, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)


def test_an_accounts_file_of_another_user_is_a_mistake(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_stranger(file, monkeypatch)
    assert complaint(file) == (
        f"{file}: belongs to user {file.stat().st_uid}, who could change it; "
        "let root or the user of this process own it"
    )


def test_a_link_counts_as_what_it_leads_to(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    assert warnings(link) == []
    file.chmod(0o666)
    assert "can be written by other users" in complaint(link)


def test_a_users_own_group_may_write(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.chmod(0o660)
    assert "mode 0660" in complaint(file)
    name = "me"
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name=name))
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=name, gr_mem=[]))
    assert warnings(file) == []
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=name, gr_mem=[name, "you"]))
    assert "mode 0660" in complaint(file)


def without_names(_: int) -> object:
    raise KeyError


def test_a_user_without_a_name_has_no_group_of_his_own(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.chmod(0o660)
    monkeypatch.setattr(pwd, "getpwuid", without_names)
    assert "mode 0660" in complaint(file)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o444, True)])
def test_literal_secrets_that_others_can_read_get_one_warning_with_what_helps(
    file: Path, mode: int, warned: bool
) -> None:
    file.chmod(mode)
    assert warnings(file) == [("other users can read credentials", f"chmod 600 {file}")] * warned


def test_a_file_without_literal_secrets_may_be_read_by_all(file: Path) -> None:
    file.write_text(IN_VARIABLE)
    file.chmod(0o644)
    assert warnings(file) == []


def test_a_secret_file_that_others_can_read_gets_the_warning_instead(file: Path, tmp_path: Path) -> None:
    file.write_text(IN_FILE)
    file.chmod(0o644)
    secret = written(tmp_path / "secret", "hush-hush\n", 0o444)
    assert warnings(file) == [("other users can read credentials", f"chmod 600 {secret}")]


def on_a_read_only_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fstatvfs", lambda fd: SimpleNamespace(f_flag=os.ST_RDONLY))


def of_root_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fstat = os.fstat
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result((*fstat(fd)[:4], 0, *fstat(fd)[5:])))


@pytest.mark.parametrize("mount", [on_a_read_only_mount, of_root_alone])
@pytest.mark.parametrize("mode", [0o444, 0o644])
def test_files_that_an_orchestrator_mounts_are_read_without_a_warning(
    file: Path,
    tmp_path: Path,
    mode: int,
    mount: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "..data").mkdir()
    written(tmp_path / "..data" / "secret", "mounted\n", mode)
    (tmp_path / "secret").symlink_to("..data/secret")  # as Kubernetes lays it out
    file.write_text(IN_FILE)
    mount(monkeypatch)
    with capture_logs() as logs:
        assert load_accounts(file, {})["a"].access_key_secret == "mounted"
    assert logs == []


def test_a_pipe_is_read(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, LITERAL.encode())
    os.close(writing)
    try:
        assert warnings(Path(f"/dev/fd/{reading}")) == []
    finally:
        os.close(reading)


def test_a_reload_holds_the_file_to_the_same(file: Path) -> None:
    accounts = Accounts(file, {})
    file.write_text(LITERAL.replace("LTAI-id", "LTAI-new"))
    file.chmod(0o666)
    with pytest.raises(InvalidSettings, match="chmod go-w"):
        accounts.reload()
    account = accounts.get("a")
    assert account is not None
    assert account.access_key_id == "LTAI-id"
    file.chmod(0o644)
    with capture_logs() as logs:
        accounts.reload()
    assert [line["event"] for line in logs] == ["other users can read credentials"]
