"""The accounts at the simulated vendors: credentials and limits."""

import tomllib
from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from streamstop.errors import InvalidSettings

#: Validation errors omit their input: it may be a secret. pydantic uses the configuration of the outermost type only.
_CONFIG = ConfigDict(extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True, config=_CONFIG)
class Account:
    """An account at a simulated vendor. Its ``repr`` contains no credential."""

    name: str
    vendor: Literal["aliyun", "tencent"]
    access_key_id: str = field(repr=False)
    access_key_secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)
    #: Calls per second by operation id, where they differ from the documented limit.
    limits: dict[str, Annotated[float, Field(gt=0)]] = field(default_factory=dict)


#: The accounts if none are given. The credentials are recognisably fake.
DEFAULT_ACCOUNTS = (
    Account("demo-aliyun-1", "aliyun", "fake-aliyun-key-1", "fake-aliyun-secret-1"),
    Account("demo-aliyun-2", "aliyun", "fake-aliyun-key-2", "fake-aliyun-secret-2"),
    Account("demo-tencent", "tencent", "fake-tencent-key", "fake-tencent-secret"),
)
_ACCOUNT = TypeAdapter(Account)
_ACCOUNTS = TypeAdapter(list[Account], config=ConfigDict(hide_input_in_errors=True))
_NAMES = tuple(field.name for field in fields(Account))
_SECRETS = ("access_key_id", "access_key_secret", "security_token")


def accounts_from_json(text: bytes) -> list[Account]:
    """Return the accounts in a JSON array. Raises :class:`ValueError`; its message contains no value."""
    return _ACCOUNTS.validate_json(text)


def load_accounts(path: Path, environ: Mapping[str, str]) -> list[Account]:
    """Return the accounts in the workers' TOML file at `path`.

    Keys that only a worker needs are ignored. The file's permissions are not checked: the simulator calls no vendor.
    Raises :class:`~streamstop.errors.InvalidSettings`.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("accounts")
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InvalidSettings(f"{path}: is not valid TOML") from None
    if not isinstance(tables, dict) or not tables or not all(isinstance(table, dict) for table in tables.values()):
        raise InvalidSettings(f"{path}: has no account; an account is a table such as [accounts.live-cn]")
    return [_account(path, name, table, environ) for name, table in tables.items()]


def _account(path: Path, name: str, table: dict[str, object], environ: Mapping[str, str]) -> Account:
    values = {key: table[key] for key in _NAMES if key in table} | {"name": name}
    for key in values.keys() & set(_SECRETS):
        try:
            values[key] = _secret(values[key], path.parent, environ)
        except (KeyError, OSError, ValueError):
            # The message omits the name of the variable or file: by mistake it may be the credential itself.
            raise InvalidSettings(
                f"{path}: accounts.{name}.{key}: the variable or file that it names cannot be read"
            ) from None
    try:
        return _ACCOUNT.validate_python(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, ("accounts", name, *first["loc"])))
        raise InvalidSettings(f"{path}: {place}: {first['msg']}") from None


def _secret(value: object, folder: Path, environ: Mapping[str, str]) -> object:
    """Return a credential: the value itself, or the content of an environment variable or a file."""
    match value:
        case {"env": str(variable)}:
            return environ[variable]
        case {"file": str(name)}:
            return (folder / name).read_text(encoding="utf-8").rstrip("\r\n")
    return value
