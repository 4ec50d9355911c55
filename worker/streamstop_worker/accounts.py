"""Accounts: named credentials at a vendor, read from a TOML file.

No other module keeps a secret, and no ``repr`` or message contains one. A mistake in the file is reported in one
sentence that names the file, the key and what is allowed: ``accounts.toml: accounts.live-cn.region: …``.
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from streamstop._core import private_files
from streamstop.errors import InvalidSettings
from streamstop_worker.accounts_file import AccountsFile, complaint
from streamstop_worker.credentials import Sources, warn_of_readers


@dataclass(frozen=True)
class Account:
    """Credentials at one vendor under the name that commands carry. Secrets are in no ``repr``."""

    name: str
    vendor: str
    access_key_id: str = field(repr=False)
    access_key_secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)
    #: Tencent: the X-TC-Region.
    region: str | None = None
    #: Overrides the host of every product: ``https://…``, or ``http://…`` on loopback. No slash at the end.
    endpoint: str | None = None
    #: Alibaba: ``v3`` (ACS3-HMAC-SHA256) or ``v1`` (RPC HMAC-SHA1).
    signature: str = "v3"
    #: Calls per second by operation id, where they differ from the vendor's page.
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that only requests to the vendor may contain."""
        credentials = (self.access_key_id, self.access_key_secret, self.security_token)
        return tuple(secret for secret in credentials if secret is not None)

    def origin(self, host: str) -> str:
        """Return where calls go: the account's endpoint if it has one, else ``https://<host>``."""
        return self.endpoint or f"https://{host}"


class Accounts:
    """The accounts of the file, as of the last read that found no mistake.

    Raises :class:`~streamstop.errors.InvalidSettings` if the first read finds one.
    """

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._current = load_accounts(path, environ)

    @property
    def all(self) -> Mapping[str, Account]:
        """The accounts by name, in the order of the file. A later read does not change the mapping."""
        return self._current

    @property
    def names(self) -> Collection[str]:
        """The names of all accounts, in the order of the file."""
        return self._current.keys()

    def get(self, name: str) -> Account | None:
        """Return the account, or None if the file has none of this name."""
        return self._current.get(name)

    def reload(self) -> None:
        """Read the file, the secret files and the environment again, and replace all accounts at once.

        Raises :class:`~streamstop.errors.InvalidSettings` for a mistake; the accounts then stay as they were.
        """
        self._current = load_accounts(self._path, self._environ)


def load_accounts(path: Path, environ: Mapping[str, str]) -> Mapping[str, Account]:
    """Return the accounts in the TOML file at `path`, by name, in its order.

    Paths of secret files are relative to the file's folder. Raises :class:`~streamstop.errors.InvalidSettings`, also if
    another user could have written one of these files. Warns of a file with secrets that other users can read.
    """
    try:
        return _load(path, environ)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except private_files.Unsafe as error:
        problem = str(error)
    except UnicodeDecodeError:
        problem = "is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        problem = f"is not valid TOML: {error}"
    except ValidationError as error:
        problem = complaint(error)
    except (ValueError, RecursionError):  # a date such as 2025-02-30; a thousand brackets
        problem = "is not valid TOML: a value is impossible"
    # Raised outside of the handlers: the context and traceback of those errors lead to variables with credentials.
    raise InvalidSettings(f"{path}: {problem}")


def _load(path: Path, environ: Mapping[str, str]) -> Mapping[str, Account]:
    content, legible = private_files.read(path)
    document = tomllib.loads(content.decode())
    tables = AccountsFile.model_validate(document, context=Sources(path.parent, environ)).accounts
    if legible and any(
        isinstance(table.get(key), str)
        for table in document["accounts"].values()
        for key in ("access_key_secret", "security_token")
    ):
        warn_of_readers(path)
    return MappingProxyType({name: Account(name, **dict(table)) for name, table in tables.items()})
