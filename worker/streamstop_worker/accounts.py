"""Accounts: named credentials at a vendor, read from a TOML file.

Nothing else ever holds a secret, and none is in a ``repr`` or in a message. A mistake in the file is one sentence
that names the file, the key and what is allowed: ``accounts.toml: accounts.live-cn.region: …``.
"""

import ipaddress
import json
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from streamstop.errors import InvalidSettings, UnknownOperation
from streamstop.operations import OPERATIONS, find
from streamstop_worker import private_files

#: No dots: an account's name is a part of its lanes' names.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Names that are repeated in a message; what else stands there may be the credential itself, by mistake.
_USUAL_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_ENDPOINT = re.compile(r"(https?)://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/?")
_HOST = re.compile(r"(?:(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.|$))+")
_VENDORS = tuple(dict.fromkeys(cls.spec.product.vendor.name for cls in OPERATIONS.values()))
_SIGNATURES = ("v3", "v1")
_SECRETS = ("access_key_id", "access_key_secret", "security_token")
_KEYS = ("vendor", *_SECRETS, "region", "endpoint", "signature", "limits")
#: Far more than any credential has; a path such as /dev/zero ends here too.
_LONGEST_SECRET = 16_384
_LOWEST_LIMIT, _HIGHEST_LIMIT = 0.001, 100_000


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
        """What must stand nowhere but in the requests to the vendor."""
        credentials = (self.access_key_id, self.access_key_secret, self.security_token)
        return tuple(secret for secret in credentials if secret is not None)

    def origin(self, host: str) -> str:
        """Return where calls go: the account's endpoint, or ``https://<host>`` where it names none."""
        return self.endpoint or f"https://{host}"


class Accounts:
    """The accounts as the file had them when it was last read without a mistake.

    Raises :class:`~streamstop.errors.InvalidSettings` if the file has one at the start.
    """

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._current = load_accounts(path, environ)

    @property
    def names(self) -> Collection[str]:
        """The names of all accounts, in the order of the file."""
        return self._current.keys()

    def get(self, name: str) -> Account | None:
        """Return the account, or None if the file has none of this name."""
        return self._current.get(name)

    def reload(self) -> None:
        """Read the file, the secret files and the environment again, and take over all accounts at once.

        Raises :class:`~streamstop.errors.InvalidSettings` for a mistake; the accounts stay as they were then.
        """
        self._current = load_accounts(self._path, self._environ)


def load_accounts(path: Path, environ: Mapping[str, str]) -> Mapping[str, Account]:
    """Return the accounts in the TOML file at `path`, by name, in its order.

    Paths of secret files are relative to the file's folder. Raises :class:`~streamstop.errors.InvalidSettings`, where
    other users could have written one of these files too; warns of one with secrets that they can read.
    """
    try:
        return _load(path, environ)
    except InvalidSettings as mistake:
        # Without the frames in which it was found: their variables are the credentials.
        told = InvalidSettings(str(mistake))
    raise told


def _load(path: Path, environ: Mapping[str, str]) -> Mapping[str, Account]:
    root = _Place(path, environ)
    try:
        content, legible = private_files.read(path)
        document = tomllib.loads(content.decode())
    except OSError as error:
        raise root.wrong(f"cannot be read: {error.strerror}") from None
    except private_files.Unsafe as unsafe:
        raise root.wrong(str(unsafe)) from None
    except UnicodeDecodeError:
        raise root.wrong("is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise root.wrong(f"is not valid TOML: {error}") from None
    except (ValueError, RecursionError):  # a date such as 2025-02-30; a thousand brackets
        raise root.wrong("is not valid TOML: a value is impossible") from None
    place = root.of("accounts")
    tables = place.table(root.table(document, ("accounts",)).get("accounts", {}))
    if not tables:
        raise place.wrong('has no account; each is a table such as [accounts.live-cn] with vendor = "aliyun"')
    accounts = {name: _account(place.of(name), name, table) for name, table in tables.items()}
    _check_keys_differ(place, accounts)
    literal = (isinstance(place.table(table).get(key), str) for table in tables.values() for key in _SECRETS[1:])
    if legible and any(literal):
        private_files.warn_of_readers(path)
    return MappingProxyType(accounts)


def _check_keys_differ(place: "_Place", accounts: Mapping[str, Account]) -> None:
    """Refuse one account under two names: a vendor's limit holds for both together, and each would use all of it."""
    names: dict[tuple[str, str, str | None], str] = {}
    for name, account in accounts.items():
        # Alibaba counts per account, Tencent per account and access region.
        region = account.region if account.vendor == "tencent" else None
        first = names.setdefault((account.vendor, account.access_key_id, region), name)
        if first != name:
            raise place.of(name).of("access_key_id").wrong(f"is that of account {first}: name each key once")


@dataclass(frozen=True)
class _Place:
    """A place in the file: reads the value that stands there, and says what is wrong with it."""

    path: Path
    environ: Mapping[str, str] = field(repr=False)
    key: str = ""

    def of(self, name: str) -> "_Place":
        """Return the place of the key `name` in this table."""
        shown = name if _BARE_KEY.fullmatch(name) else json.dumps(name)
        return _Place(self.path, self.environ, f"{self.key}.{shown}" if self.key else shown)

    def wrong(self, complaint: str) -> InvalidSettings:
        """Return the error to raise; `complaint` says what is allowed, and never repeats what may be a secret."""
        return InvalidSettings(": ".join(part for part in (str(self.path), self.key, complaint) if part))

    def table(self, value: object, keys: Collection[str] | None = None) -> dict[str, object]:
        """Return a table; with `keys`, one that has no others."""
        if not isinstance(value, dict):
            raise self.wrong("must be a table")
        for key in value:
            if keys is not None and key not in keys:
                raise self.of(key).wrong(f"is not a key of this table; allowed: {', '.join(keys)}")
        return value

    def choice(self, value: object, allowed: Collection[str]) -> str:
        """Return a text that is one of `allowed`."""
        if not isinstance(value, str) or value not in allowed:
            quoted = " or ".join(f'"{one}"' for one in allowed)
            raise self.wrong(f"{'is required' if value is None else 'must be'}: {quoted}")
        return value

    def region(self, value: object) -> str:
        """Return a vendor's region."""
        if not isinstance(value, str) or not _REGION.fullmatch(value):
            raise self.wrong('must be a region such as "cn-shanghai": lower-case letters, digits and -')
        return value

    def endpoint(self, value: object) -> str:
        """Return an origin without a slash at its end."""
        # The value is never repeated: somebody may have put a password into it.
        parts = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
        if parts is None or int(parts[3] or 443) not in range(1, 65_536) or not _is_host(parts[2]):
            raise self.wrong(
                'must be "https://<host>" or "https://<host>:<port>", without user, path, query and fragment'
            )
        if parts[1] == "http" and not _is_loopback(parts[2]):
            raise self.wrong('must begin with "https://"; "http://" is only for loopback (localhost, 127.0.0.1, [::1])')
        return parts[0].removesuffix("/")

    def limit(self, value: object) -> float:
        """Return calls per second."""
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else 0
        if not _LOWEST_LIMIT <= number <= _HIGHEST_LIMIT:  # NaN is in no range
            raise self.wrong(f"must be a number of calls per second from {_LOWEST_LIMIT} to {_HIGHEST_LIMIT}")
        return float(number)

    def secret(self, value: object) -> str:
        """Return a credential: the text itself, or what an environment variable or a file holds."""
        match value:
            case str():
                secret, holder = value, ""
            case {"env": str(variable), **others} if not others:
                secret, holder = self._from_variable(variable), f"the environment variable {variable} "
            case {"file": str(file), **others} if not others:
                secret, holder = self._from_file(file), f"the file {file} "
            case _:
                complaint = "is required" if value is None else "must be one of"
                raise self.wrong(f'{complaint}: "…", {{ env = "VARIABLE" }} or {{ file = "/path" }}')
        if not secret:
            raise self.wrong(f"{holder}is empty")
        if not (secret.isascii() and secret.isprintable()) or " " in secret:
            raise self.wrong(f"{holder}must hold printable ASCII characters only, without spaces")
        return secret

    def _from_variable(self, variable: str) -> str:
        if not _VARIABLE.fullmatch(variable):
            raise self.wrong("env must be the name of an environment variable: letters, digits and _")
        if variable not in self.environ:
            shown = variable if _USUAL_VARIABLE.fullmatch(variable) else "that it names"
            raise self.wrong(f"the environment variable {shown} is not set")
        return self.environ[variable]

    def _from_file(self, name: str) -> str:
        file = self.path.parent / name
        try:
            content, legible = private_files.read(file, _LONGEST_SECRET + 1)
            secret = content.decode().rstrip("\r\n")
        except OSError as error:
            shown = file if "/" in name else "that it names"
            raise self.wrong(f"the file {shown} cannot be read: {error.strerror}") from None
        except private_files.Unsafe as unsafe:
            raise self.wrong(f"the file {file} {unsafe}") from None
        except ValueError:  # not UTF-8, or a NUL in the path
            raise self.wrong("file must be the path of a text file") from None
        if len(content) > _LONGEST_SECRET:
            raise self.wrong(f"the file {file} is too long for a credential")
        if legible:
            private_files.warn_of_readers(file)
        return secret


def _account(place: _Place, name: str, value: object) -> Account:
    if not _NAME.fullmatch(name):
        raise place.wrong("an account's name must be 1 to 63 of a-z, 0-9, _ and -, and begin with a letter or a digit")
    table = place.table(value, _KEYS)
    vendor = place.of("vendor").choice(table.get("vendor"), _VENDORS)
    secrets = {key: place.of(key).secret(table.get(key)) for key in _SECRETS if key in table or key != "security_token"}
    region = place.of("region").region(table["region"]) if "region" in table else None
    if vendor == "tencent" and region is None:
        raise place.of("region").wrong('is required for vendor "tencent": the X-TC-Region, such as "ap-singapore"')
    if vendor != "aliyun" and "signature" in table:
        raise place.of("signature").wrong('is only for vendor "aliyun"; leave it out')
    endpoint = place.of("endpoint").endpoint(table["endpoint"]) if "endpoint" in table else None
    signature = place.of("signature").choice(table.get("signature", "v3"), _SIGNATURES)
    limits = _limits(place.of("limits"), vendor, table.get("limits", {}))
    return Account(name, vendor, region=region, endpoint=endpoint, signature=signature, limits=limits, **secrets)


def _limits(place: _Place, vendor: str, value: object) -> Mapping[str, float]:
    limits = {}
    for operation_id, limit in place.table(value).items():
        here = place.of(operation_id)
        if isinstance(limit, dict):  # what TOML makes of live.StopMPUTask = 8
            raise here.wrong('must be a number; put the operation\'s id in quotes: "live.StopMPUTask" = 8')
        try:
            owner = find(operation_id).spec.product.vendor.name
        except UnknownOperation as error:
            raise here.wrong(str(error)) from None
        if owner != vendor:
            raise here.wrong(f'is an operation of vendor "{owner}", and this account\'s is "{vendor}"')
        limits[operation_id] = here.limit(limit)
    return MappingProxyType(limits)


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return _HOST.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
