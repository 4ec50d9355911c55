"""The accounts that the simulated vendors know: the credentials that calls are signed with, and limits."""

import tomllib
from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from streamstop.errors import InvalidSettings

#: Validation errors never repeat their input, which may be a secret. Only the outermost type's configuration counts.
_CONFIG = ConfigDict(extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True, config=_CONFIG)
class Account:
    """An account at a simulated vendor. Secrets are in no ``repr``."""

    name: str
    vendor: Literal["aliyun", "tencent"]
    access_key_id: str = field(repr=False)
    access_key_secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)
    #: Calls per second by operation id, where they differ from the vendor's page.
    limits: dict[str, Annotated[float, Field(gt=0)]] = field(default_factory=dict)


#: The accounts of a simulator that was given none. The keys are no vendor's: they say what they are.
DEFAULT_ACCOUNTS = (
    Account("demo-aliyun-1", "aliyun", "fake-aliyun-key-1", "fake-aliyun-secret-1"),
    Account("demo-aliyun-2", "aliyun", "fake-aliyun-key-2", "fake-aliyun-secret-2"),
    Account("demo-tencent", "tencent", "fake-tencent-key", "fake-tencent-secret"),
)
_ACCOUNT = TypeAdapter(Account)
_ACCOUNTS = TypeAdapter(list[Account], config=ConfigDict(hide_input_in_errors=True))
_NAMES = tuple(one.name for one in fields(Account))
_SECRETS = ("access_key_id", "access_key_secret", "security_token")


def accounts_from_json(text: bytes) -> list[Account]:
    """Return the accounts in a JSON array. Raises :class:`ValueError`, whose message repeats no value."""
    return _ACCOUNTS.validate_json(text)


def load_accounts(path: Path, environ: Mapping[str, str]) -> list[Account]:
    """Return the accounts in the workers' TOML file at `path`.

    The simulator reads credentials and limits, and ignores the keys that only a worker needs. It checks neither who can
    read the file nor who can write it: it calls no vendor. Raises :class:`~streamstop.errors.InvalidSettings`.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("accounts")
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InvalidSettings(f"{path}: is not valid TOML") from None
    if not isinstance(tables, dict) or not tables or not all(isinstance(table, dict) for table in tables.values()):
        raise InvalidSettings(f"{path}: has no account; each is a table such as [accounts.live-cn]")
    return [_account(path, name, table, environ) for name, table in tables.items()]


def _account(path: Path, name: str, table: dict[str, object], environ: Mapping[str, str]) -> Account:
    values = {key: table[key] for key in _NAMES if key in table} | {"name": name}
    for key in values.keys() & set(_SECRETS):
        try:
            values[key] = _secret(values[key], path.parent, environ)
        except (KeyError, OSError, ValueError):
            # The name of a variable or a file may be the credential itself, by mistake.
            raise InvalidSettings(f"{path}: accounts.{name}.{key}: what it names cannot be read") from None
    try:
        return _ACCOUNT.validate_python(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, ("accounts", name, *first["loc"])))
        raise InvalidSettings(f"{path}: {place}: {first['msg']}") from None


def _secret(value: object, folder: Path, environ: Mapping[str, str]) -> object:
    """Return a credential: the text itself, or what an environment variable or a file holds."""
    match value:
        case {"env": str(variable)}:
            return environ[variable]
        case {"file": str(name)}:
            return (folder / name).read_text(encoding="utf-8").rstrip("\r\n")
    return value
