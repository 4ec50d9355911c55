"""Tokens: the file, its mistakes, who a token is, and the command that makes one."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streamstop import InvalidSettings
from streamstop.cli import main
from streamstop.tokens import new_token, token_hash
from streamstop_server.access.tokens import Caller, Scope, Tokens

HASH = "sha256:" + "0" * 64


def file(tmp_path: Path, content: str, mode: int = 0o600) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text(content)
    path.chmod(mode)
    return path


def test_a_token_is_known_by_its_hash_with_its_scopes_and_accounts(tmp_path: Path) -> None:
    token, other = new_token(), new_token()
    tokens = Tokens(
        file(
            tmp_path,
            f'[tokens.a]\nhash = "{token_hash(token)}"\nscopes = ["read"]\naccounts = ["live-cn"]\n'
            f'[tokens.b]\nhash = "{token_hash(other)}"\nscopes = ["enqueue", "operate"]\n',
        )
    )
    assert tokens.caller_of(token) == Caller("a", frozenset({Scope.READ}), frozenset({"live-cn"}))
    assert tokens.caller_of(other) == Caller("b", frozenset({Scope.ENQUEUE, Scope.OPERATE}), None)
    assert tokens.caller_of(new_token()) is None
    assert tokens.caller_of("") is None
    assert tokens.caller_of("\ud800") is None


def test_a_file_that_changes_is_stale_until_it_is_read_again(tmp_path: Path) -> None:
    token = new_token()
    path = file(tmp_path, f'[tokens.a]\nhash = "{HASH}"\nscopes = ["read"]\n')
    tokens = Tokens(path)
    assert [tokens.is_stale] == [False]
    file(tmp_path, f'[tokens.second]\nhash = "{token_hash(token)}"\nscopes = ["read"]\n')
    assert [tokens.is_stale] == [True]
    assert tokens.caller_of(token) is None
    tokens.reload()
    assert [tokens.is_stale] == [False]
    assert tokens.caller_of(token) == Caller("second", frozenset({Scope.READ}))
    file(tmp_path, "[tokens")
    assert [tokens.is_stale] == [True]
    with pytest.raises(InvalidSettings):
        tokens.reload()
    assert [tokens.is_stale] == [False], "a mistake is told once"
    assert tokens.caller_of(token) == Caller("second", frozenset({Scope.READ}))


@pytest.mark.parametrize("change", ["name", "hash", "scopes", "accounts"])
def test_a_caller_is_known_until_its_token_changes_in_the_file(change: str, tmp_path: Path) -> None:
    token = new_token()
    first = {"name": "a", "hash": token_hash(token), "scopes": ["read"], "accounts": ["live-cn"]}
    changed: dict[str, Any] = {"name": "b", "hash": HASH, "scopes": ["enqueue"], "accounts": ["live-de"]}

    def toml(of: dict[str, Any]) -> str:
        return f"[tokens.{of['name']}]\n" + "".join(f"{key} = {of[key]!r}\n" for key in ("hash", "scopes", "accounts"))

    tokens = Tokens(file(tmp_path, toml(first)))
    caller = tokens.caller_of(token)
    assert caller is not None
    tokens.reload()
    assert tokens.knows(caller)
    file(tmp_path, toml({**first, change: changed[change]}))
    tokens.reload()
    assert not tokens.knows(caller)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[tokens.a]\nscopes = ['read']", "tokens.a.hash: must be"),
        (f"[tokens.a]\nhash = '{HASH}'", "tokens.a.scopes: must be a list of enqueue, read, operate"),
        (f"[tokens.a]\nhash = '{HASH}'\nscopes = ['write']", "tokens.a.scopes.0: must be a list of"),
        (f"[tokens.a]\nhash = '{HASH}'\nscopes = []", "tokens.a.scopes: must be a list of"),
        (f"[tokens.a]\nhash = '{HASH}'\nscopes = ['read']\naccounts = ['Bad Name']", "tokens.a.accounts: account"),
        ("[tokens.a]\nhash = 'sst_a-token-in-the-wrong-place'\nscopes = ['read']", "tokens.a.hash: must be"),
        (f"[tokens.a]\nhash = '{HASH}'\nscopes = ['read']\ntoken = 'sst_hush'", "tokens.a.token is not a key"),
        (f"[tokens.'A B']\nhash = '{HASH}'\nscopes = ['read']", "a name must be"),
        (f"[tokens.a]\nhash = '{HASH}'\nscopes = ['read']\n[tokens.b]\nhash = '{HASH}'\nscopes = ['read']", "also the"),
        ("tokens = 3", "tokens: must be a table"),
        ("", "tokens is required"),
        ("[", "it is not valid TOML at end of document"),
        ("[tokens.a]\nsst_hush = 1\nsst_hush = 2\n", "it is not valid TOML at line 3, column "),
        ("a = " + "[" * 5000, "it is not valid TOML"),
    ],
)
def test_a_mistake_is_told_with_its_key_and_without_a_value(content: str, complaint: str, tmp_path: Path) -> None:
    path = file(tmp_path, content)
    with pytest.raises(InvalidSettings) as raised:
        Tokens(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert complaint in str(raised.value)
    assert "sst_" not in str(raised.value)


def test_a_file_that_others_could_have_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="can be written by other users"):
        Tokens(file(tmp_path, f'[tokens.a]\nhash = "{HASH}"\nscopes = ["read"]\n', 0o666))


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"tokens\.toml: No such file"):
        Tokens(tmp_path / "tokens.toml")


@pytest.mark.parametrize("name", ["billing", "a.dotted-name"])
def test_the_command_prints_a_table_that_knows_the_token(name: str, tmp_path: Path) -> None:
    made = CliRunner().invoke(
        main, ["token", "new", name, "--scope", "enqueue", "--scope", "read", "--scope", "read", "--account", "live-cn"]
    )
    assert made.exit_code == 0
    token = made.stderr.strip().rpartition("\n")[2]
    assert token not in made.stdout
    caller = Tokens(file(tmp_path, made.stdout)).caller_of(token)
    assert caller == Caller(name, frozenset({Scope.ENQUEUE, Scope.READ}), frozenset({"live-cn"}))


def test_the_command_tells_programs_the_same(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["token", "new", "billing", "--scope", "read", "--json"])
    facts = json.loads(made.stdout)
    assert facts == {"name": "billing", "token": facts["token"], "hash": token_hash(facts["token"]), "scopes": ["read"]}
    assert made.stderr == ""


@pytest.mark.parametrize(
    "arguments", [["Bad Name", "--scope", "read"], ["a", "--scope", "read", "--account", "Bad"], ["a"]]
)
def test_the_command_refuses_what_the_file_would(arguments: list[str]) -> None:
    made = CliRunner().invoke(main, ["token", "new", *arguments])
    assert made.exit_code == 2
    assert made.stdout == ""


def test_tables_can_be_appended_to_one_file(tmp_path: Path) -> None:
    text = "".join(CliRunner().invoke(main, ["token", "new", name, "--scope", "read"]).stdout for name in ("a", "b"))
    assert set(tomllib.loads(text)["tokens"]) == {"a", "b"}
    assert Tokens(file(tmp_path, text)).named("b") is not None
