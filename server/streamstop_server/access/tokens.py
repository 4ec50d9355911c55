"""Tokens: who may use the service, and for what. The tokens file holds their hashes, never a token.

::

    [tokens.billing]
    hash = "sha256:…"                # `streamstop token new billing` prints both
    scopes = ["enqueue", "read"]
    accounts = ["live-cn"]           # all, if this is left out
"""

import hmac
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamstop._core import private_files
from streamstop._core.commands import check_account
from streamstop.errors import InvalidCommand, InvalidSettings
from streamstop.tokens import NAME, token_hash


class Scope(StrEnum):
    """What a token may be used for."""

    ENQUEUE = "enqueue"
    """Enqueue, cancel what was enqueued, register and stop rooms."""
    READ = "read"
    """Look at everything."""
    OPERATE = "operate"
    """Pause, limit, drain, requeue and drop."""


@dataclass(frozen=True)
class Caller:
    """Who makes a request. `accounts` None: all accounts."""

    name: str
    scopes: frozenset[Scope]
    accounts: frozenset[str] | None = None
    #: Of the token.
    hash: str = field(default="", repr=False, compare=False)

    def may_touch(self, account: str) -> bool:
        """Whether the caller may see and change what belongs to `account`."""
        return self.accounts is None or account in self.accounts


#: Everybody on this machine, where the service has no tokens file.
EVERYBODY = Caller("loopback", frozenset(Scope))


class _Token(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    scopes: Annotated[list[Scope], Field(min_length=1)]
    accounts: Annotated[list[str], Field(min_length=1)] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: dict[str, _Token]


class Tokens:
    """The tokens of one file. The file is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = _stamp(path)  # first, so that a change during the read is noticed
        self._callers = _read(path)

    def reload(self) -> None:
        """Read the file again. Raises :class:`~streamstop.errors.InvalidSettings`; what was read before then stays."""
        self._stamp = _stamp(self.path)
        self._callers = _read(self.path)

    @property
    def is_stale(self) -> bool:
        """Whether the file has changed since the last attempt to read it."""
        return _stamp(self.path) != self._stamp

    def caller_of(self, token: str) -> Caller | None:
        """Return whose token this is; the time it takes tells nothing of the tokens."""
        hashed, found = token_hash(token), None
        for known, caller in self._callers.items():
            if hmac.compare_digest(known, hashed):
                found = caller
        return found

    def knows(self, caller: Caller) -> bool:
        """Return whether the token of `caller` is still in the file, with the same name, scopes and accounts."""
        return self._callers.get(caller.hash) == caller

    def named(self, name: str) -> tuple[str, Caller] | None:
        """Return the hash and the caller of the token with this name."""
        return next(((known, caller) for known, caller in self._callers.items() if caller.name == name), None)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _read(path: Path) -> Mapping[str, Caller]:
    try:
        content, _ = private_files.read(path)
    except OSError as error:
        raise InvalidSettings(f"{path}: {os.strerror(error.errno or 0)}") from None
    except private_files.Unsafe as unsafe:
        raise InvalidSettings(f"{path}: {unsafe}") from None
    try:
        tables = _File.model_validate(tomllib.loads(content.decode()))
    except tomllib.TOMLDecodeError as error:
        place = str(error).rpartition("(")[2].removesuffix(")")  # without the rest, which can have a part of a token
        raise InvalidSettings(f"{path}: it is not valid TOML {place}") from None
    except ValidationError as error:
        raise InvalidSettings(f"{path}: {_mistake(error)}") from None
    except (ValueError, RecursionError):  # not UTF-8; a thousand brackets
        raise InvalidSettings(f"{path}: it is not valid TOML") from None
    found: dict[str, Caller] = {}
    for name, token in tables.tokens.items():
        if not NAME.fullmatch(name):
            raise InvalidSettings(f"{path}: tokens.{name!r}: a name must be 1 to 63 of a-z, 0-9, _, . and -")
        if token.hash in found:
            raise InvalidSettings(f"{path}: tokens.{name}.hash is also the hash of {found[token.hash].name}")
        found[token.hash] = Caller(name, frozenset(token.scopes), _accounts(path, name, token.accounts), token.hash)
    return found


def _accounts(path: Path, name: str, accounts: Iterable[str] | None) -> frozenset[str] | None:
    try:
        return None if accounts is None else frozenset(map(check_account, accounts))
    except InvalidCommand as error:
        raise InvalidSettings(f"{path}: tokens.{name}.accounts: {error}") from None


def _mistake(error: ValidationError) -> str:
    """Return the first mistake as ``key: what is allowed``. It never repeats a value, which may be a token."""
    first: Any = error.errors(include_input=False, include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    allowed = {
        "hash": 'must be "sha256:" and 64 hexadecimal digits, as `streamstop token new` prints',
        "scopes": f"must be a list of {', '.join(Scope)}",
        "accounts": "must be a list of accounts' names",
    }
    part = next((str(part) for part in reversed(first["loc"]) if part in allowed), "")
    if first["type"] == "missing":
        return f"{key} is required" if part == "" else f"{key}: {allowed[part]}"
    if first["type"] == "extra_forbidden":
        return f"{key} is not a key; there are tokens.<name>.hash, .scopes and .accounts"
    return f"{key}: {allowed.get(part, 'must be a table such as [tokens.billing]')}"
