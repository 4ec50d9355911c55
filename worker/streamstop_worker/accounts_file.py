"""The accounts file: what its TOML may contain, and the sentence that reports a mistake in it.

pydantic validates the content. Its own messages are not used, since they know neither TOML nor the vendors.
"""

import ipaddress
import json
import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from streamstop._core.commands import ACCOUNT_NAME
from streamstop._core.loopback import is_loopback
from streamstop._core.pace import HIGHEST_LIMIT, LOWEST_LIMIT
from streamstop.operations import OPERATIONS, find
from streamstop_worker.credentials import ALLOWED as _CREDENTIAL
from streamstop_worker.credentials import Credential

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_VENDORS = tuple(dict.fromkeys(cls.spec.product.vendor.name for cls in OPERATIONS.values()))
_ENDPOINT = re.compile(r"(https?)://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/?")
_HOST = re.compile(r"(?:(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.|$))+")

# What is allowed, as messages say it after "must be" and "is required:".
_NAME = "named with 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or a digit"
_ACCOUNT = 'table such as [accounts.live-cn] with vendor = "aliyun"'
_ORIGIN = '"https://<host>" or "https://<host>:<port>", without user, path, query and fragment'
_LIMIT = f"a number of calls per second from {LOWEST_LIMIT} to {HIGHEST_LIMIT}"


def _check_endpoint(value: str) -> str:
    """Return an origin without a slash at its end. No message repeats the value: it may contain a password."""
    parts = _ENDPOINT.fullmatch(value)
    if parts is None or int(parts[3] or 443) not in range(1, 65_536) or not _is_host(parts[2]):
        raise ValueError(f"must be {_ORIGIN}")
    if parts[1] == "http" and not is_loopback(parts[2]):
        raise ValueError('must begin with "https://"; "http://" is only for loopback (localhost, 127.0.0.1, [::1])')
    return parts[0].removesuffix("/")


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return _HOST.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


def _check_operation(operation_id: str) -> str:
    return find(operation_id).spec.id


def _check_quoted(limit: object) -> object:
    match limit:
        case dict():  # what TOML makes of live.StopMPUTask = 8
            raise ValueError('must be a number; put the operation\'s id in quotes: "live.StopMPUTask" = 8')
    return limit


_Name = Annotated[str, Field(pattern=ACCOUNT_NAME)]
_OperationId = Annotated[str, AfterValidator(_check_operation)]
_Limit = Annotated[float, Field(ge=LOWEST_LIMIT, le=HIGHEST_LIMIT), BeforeValidator(_check_quoted)]


class AccountTable(BaseModel):
    """One account. A field's description says what is allowed; messages repeat it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    vendor: str = Field(pattern=f"^({'|'.join(_VENDORS)})$", description=" or ".join(f'"{one}"' for one in _VENDORS))
    access_key_id: Credential = Field(repr=False, description=_CREDENTIAL)
    access_key_secret: Credential = Field(repr=False, description=_CREDENTIAL)
    security_token: Credential | None = Field(default=None, repr=False, description=_CREDENTIAL)
    region: str | None = Field(
        default=None,
        validate_default=True,
        pattern="^[a-z0-9-]{1,64}$",
        description='a region such as "cn-shanghai": lower-case letters, digits and -',
    )
    endpoint: Annotated[str, AfterValidator(_check_endpoint)] | None = Field(default=None, description=_ORIGIN)
    signature: Literal["v3", "v1"] = Field(default="v3", description='"v3" or "v1"')
    limits: dict[_OperationId, _Limit] = Field(default={}, description="a table")

    @field_validator("region")
    @classmethod
    def _require_region(cls, region: str | None, info: ValidationInfo) -> str | None:
        if region is None and info.data.get("vendor") == "tencent":
            raise ValueError('is required for vendor "tencent": the X-TC-Region, such as "ap-singapore"')
        return region

    @field_validator("signature")
    @classmethod
    def _check_signature(cls, signature: str, info: ValidationInfo) -> str:
        if info.data.get("vendor", "aliyun") != "aliyun":
            raise ValueError('is only for vendor "aliyun"; leave it out')
        return signature

    @field_validator("limits")
    @classmethod
    def _check_limits(cls, limits: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        vendor = info.data.get("vendor")
        for operation_id in limits:
            owner = find(operation_id).spec.product.vendor.name
            if vendor not in {None, owner}:
                raise ValueError(
                    f'"{operation_id}" is an operation of vendor "{owner}", and this account\'s is "{vendor}"'
                )
        return limits


class AccountsFile(BaseModel):
    """The whole file. Its validation context is :class:`~streamstop_worker.credentials.Sources`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    accounts: dict[_Name, AccountTable] = Field(min_length=1, description=f"at least one {_ACCOUNT}")

    @model_validator(mode="after")
    def _check_keys_differ(self) -> Self:
        """Refuse one key under two names: the vendor's limit holds for both together, and each would use all of it."""
        names: dict[tuple[str, str, str | None], str] = {}
        for name, account in self.accounts.items():
            # Alibaba counts per account, Tencent per account and access region.
            region = account.region if account.vendor == "tencent" else None
            first = names.setdefault((account.vendor, account.access_key_id, region), name)
            if first != name:
                raise ValueError(
                    f"accounts.{name}.access_key_id: is also the key of account {first}: name each key once"
                )
        return self


def complaint(error: ValidationError) -> str:
    """Return one sentence about one mistake: its place in the file, and what is allowed there."""
    first = min(error.errors(include_url=False, include_input=False), key=_rank)
    place = [str(part) for part in first["loc"] if part != "[key]"]
    shown = ".".join(part if _BARE_KEY.fullmatch(part) else json.dumps(part) for part in place)
    return f"{shown}: {_what_is_allowed(first)}" if shown else _what_is_allowed(first)


def _rank(error: ErrorDetails) -> int:
    """Report first what explains other errors: a misspelt key leaves one missing, a bare one is no operation."""
    if error["type"] == "extra_forbidden":
        return 0
    return 2 if error["loc"][-1:] == ("[key]",) else 1


def _what_is_allowed(error: ErrorDetails) -> str:
    allowed = _allowed(error["loc"])
    match error["type"]:
        case "missing":
            return f"is required: {allowed}"
        case "extra_forbidden":
            table = AccountsFile if len(error["loc"]) == 1 else AccountTable
            return f"is not a key of this table; allowed: {', '.join(table.model_fields)}"
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            return f"must be {allowed}"


def _allowed(place: tuple[int | str, ...]) -> str | None:
    match place:
        case (key,):
            fields = AccountsFile.model_fields
        case _, _, "[key]":
            return _NAME
        case _, _, key:
            fields = AccountTable.model_fields
        case _, _, _, _, *_:
            return _LIMIT
        case _:
            return f"a {_ACCOUNT}"
    return fields[key].description if key in fields else None
