"""Types of operation parameters. They check the vendors' documented rules before anything is sent."""

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidatorFunctionWrapHandler, WrapValidator


class AnyRegion(str):
    """A region that is not in the list: ``StopLivePullToPush(region=AnyRegion("cn-new"), …)``."""

    __slots__ = ()


def _clean(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        raise ValueError("must not contain control characters")
    return value


#: An identifier. Where the vendor documents no maximum length, it is 255.
Name = Annotated[str, Field(strict=True, max_length=255), AfterValidator(_clean)]
Name64 = Annotated[str, Field(strict=True, max_length=64), AfterValidator(_clean)]
Name55 = Annotated[str, Field(strict=True, max_length=55), AfterValidator(_clean)]
#: A number that identifies something, such as Tencent's SdkAppId.
Number = Annotated[int, Field(strict=True, gt=0, lt=2**63)]
#: The number of a page, and the number of entries on a page.
Page = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
PageSize = Annotated[int, Field(strict=True, ge=1, le=100)]


def one_of(*allowed: str) -> WrapValidator:
    """Allow the regions that the vendor documents, and any :class:`AnyRegion`."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> str:
        if isinstance(value, AnyRegion):
            return str(handler(str(value)))
        region = str(handler(value))
        if region not in allowed:
            listed = ", ".join(allowed)
            raise ValueError(f"must be one of {listed}, not {region!r} (AnyRegion or --any-region allows a newer one)")
        return region

    # The JSON schema lists the allowed values; the command line reads them from there.
    return WrapValidator(check, json_schema_input_type=Literal[allowed])
