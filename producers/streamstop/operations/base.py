"""What an operation is: one API action of a vendor, declared as data.

A declaration is a class: its fields are the action's parameters (validated when an object is made), its class
arguments say how the action is called, how often, and what its codes mean. Nothing here does I/O.

::

    Vendor  ("aliyun": what its codes mean)
    └── Product  ("live": version and endpoint)
        └── Operation  ("live.StopMPUTask": parameters, kind, limit, codes, source)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Self, get_args

from pydantic import AliasGenerator, BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_pascal
from pydantic_core import ErrorDetails

from streamstop.errors import InvalidCommand
from streamstop.outcomes import State, Status


class Kind(StrEnum):
    """What an operation is for."""

    STOP = "stop"
    STATUS = "status"


class Meaning(StrEnum):
    """What a vendor's error code means for the job that met it."""

    THROTTLED = "throttled"
    """Over a rate limit: the lane rests, the job is unharmed."""
    TRANSIENT = "transient"
    """Tried again after a backoff."""
    SIGN_AGAIN = "sign_again"
    """Signed anew and sent once more at the next slot; the second time it is transient."""
    ALREADY_STOPPED = "already_stopped"
    NOT_FOUND = "not_found"
    REFUSED = "refused"


#: Codes to their meaning. A key that ends in ``*`` stands for every code that starts with what is before it;
#: an exact key goes before a prefix, a longer prefix before a shorter one.
Codes = Mapping[str, Meaning]


def meaning_of(code: str, codes: Codes) -> Meaning | None:
    """Return what `code` means by `codes`, or None where no key fits."""
    if (exact := codes.get(code)) is not None:
        return exact
    prefixes = [key for key in codes if key.endswith("*") and code.startswith(key[:-1])]
    return codes[max(prefixes, key=len)] if prefixes else None


@dataclass(frozen=True)
class Vendor:
    """A cloud vendor, and what its common error codes mean."""

    name: str
    codes: Codes


@dataclass(frozen=True)
class Product:
    """A vendor's product: one API version behind one endpoint."""

    vendor: Vendor
    name: str
    version: str
    #: The host that serves the product where the account names no endpoint of its own.
    host: str
    #: The vendor's page of an action, with ``{version}`` and ``{action}``.
    page: str


@dataclass(frozen=True)
class StatusField:
    """Where a status reply holds the value, and what the values mean.

    A dot in `path` steps into an object: ``Job.Status``.
    """

    path: str
    states: Mapping[int | str, State]

    def read(self, reply: Mapping[str, Any]) -> Status:
        """Return the status in `reply`; a value that is not listed, or none at all, is ``unknown``."""
        value: Any = reply
        for name in self.path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        raw = value if isinstance(value, int | str) and not isinstance(value, bool) else None
        state = State.UNKNOWN if raw is None else self.states.get(raw, State.UNKNOWN)
        return Status(raw=raw, state=state, over=state is State.STOPPED)


@dataclass(frozen=True)
class Spec:
    """Everything about an operation that is not a parameter."""

    product: Product
    action: str
    kind: Kind
    #: The vendor's limit in calls per second, for one account.
    limit: float
    #: The HTTP method of the vendor's page.
    method: str = "POST"
    #: Codes whose meaning is this operation's own; they go before the vendor's.
    codes: Codes = field(default_factory=dict)
    #: For status operations that tell one stream task's state.
    status: StatusField | None = None
    #: The id of the status operation that tells whether a stop took effect.
    status_twin: str | None = None

    @property
    def id(self) -> str:
        """``<product>.<Action>``."""
        return f"{self.product.name}.{self.action}"

    @property
    def source(self) -> str:
        """The address of the vendor's page."""
        return self.product.page.format(version=self.product.version, action=self.action)

    def meaning(self, code: str) -> Meaning | None:
        """Return what `code` means: by the operation's own table, then by its vendor's; None if unknown."""
        own = meaning_of(code, self.codes)
        return own if own is not None else meaning_of(code, self.product.vendor.codes)


class Operation(BaseModel):
    """One API action with its parameters: the base of every declaration.

    Subclass with the call's facts as class arguments::

        class StopMPUTask(Operation, product=LIVE, kind=Kind.STOP, limit=10):
            app_id: Name
            task_id: Name

    The wire name of a parameter is its name in PascalCase. Raises :class:`~streamstop.errors.InvalidCommand`
    when a parameter is wrong.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=AliasGenerator(alias=to_pascal),
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )

    spec: ClassVar[Spec]

    def __init_subclass__(cls, *, product: Product, kind: Kind, limit: float, **facts: Any) -> None:
        """Turn the class arguments into :attr:`spec`."""
        super().__init_subclass__()
        action = facts.pop("action", cls.__name__)
        cls.spec = Spec(product=product, action=action, kind=kind, limit=limit, **facts)

    def __init__(self, /, **parameters: Any) -> None:  # a stranger's parameter may be called "self"
        try:
            super().__init__(**parameters)
        except ValidationError as error:
            raise self._invalid(error) from None

    @classmethod
    def from_strings(cls, parameters: Mapping[str, str]) -> Self:
        """Make the operation from text values, as a command line has them.

        Raises :class:`~streamstop.errors.InvalidCommand`.
        """
        numbers = {f.alias for f in cls.model_fields.values() if _takes_number(f.annotation)}
        return cls(**{key: _number(value) if key in numbers else value for key, value in parameters.items()})

    @property
    def params(self) -> dict[str, str | int]:
        """The parameters under the vendor's own names."""
        return self.model_dump(by_alias=True, exclude_none=True)

    @classmethod
    def _invalid(cls, error: ValidationError) -> InvalidCommand:
        """Say in one sentence which parameter is wrong and what is allowed."""
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else None
        wire = next((f.alias for key, f in cls.model_fields.items() if name in {key, f.alias}), name)
        return InvalidCommand(f"{cls.spec.id}: {cls._complaint(first, wire)}", field=wire)

    @classmethod
    def _complaint(cls, error: ErrorDetails, wire: str | None) -> str:
        names = ", ".join(str(f.alias) for f in cls.model_fields.values())
        match error["type"]:
            case "missing":
                return f"{wire} is required (parameters: {names})"
            case "extra_forbidden":
                return f"{(wire or '')[:100]} is not a parameter of this operation (parameters: {names})"
            case "value_error":
                return f"{wire} {error['ctx']['error']}"
            case _:
                return f"{wire}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _takes_number(annotation: Any) -> bool:
    """Return whether a parameter's type is a number, or one that may be left out."""
    return annotation is int or any(map(_takes_number, get_args(annotation)))


def _number(text: str) -> int | str:
    """Return the number in `text`; what is none, or has more digits than ``int`` cares to read, stays text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 1000 else text
