"""The base of all operations: an operation is one API action of a vendor, declared as data, without I/O.

A declaration is a class. Its fields are the action's parameters, which are validated when an object is created. Its
class arguments say how the action is called, how often it may be called, and what its codes mean.

::

    Vendor  ("aliyun": what its codes mean)
    └── Product  ("live": version and endpoint)
        └── Operation  ("live.StopMPUTask": parameters, kind, limit, codes, source)
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any, ClassVar, Self, get_args

from pydantic import AliasGenerator, BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_pascal
from pydantic_core import ErrorDetails

from streamstop.errors import InvalidCommand
from streamstop.outcomes import State, Status

#: How many unknown parameters are compared with the known ones. A message may carry thousands.
_MAX_COMPARED = 20


class Kind(StrEnum):
    """What an operation is for."""

    STOP = "stop"
    STATUS = "status"


class Meaning(StrEnum):
    """What a vendor's error code means for the job that met it."""

    THROTTLED = "throttled"
    """Over a rate limit. The lane rests, and the job is sent again."""
    TRANSIENT = "transient"
    """The job is tried again after a backoff."""
    SIGN_AGAIN = "sign_again"
    """The call is signed again and sent at the next slot. The second time, the code counts as transient."""
    ALREADY_STOPPED = "already_stopped"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    KEY_REFUSED = "key_refused"
    """The account's key or signature is refused. After five in a row the account is held, and its jobs wait."""


#: Maps codes to meanings. A key that ends in ``*`` matches every code with that prefix. An exact key takes precedence
#: over a prefix, and a longer prefix over a shorter one.
Codes = Mapping[str, Meaning]


def meaning_of(code: str, codes: Codes) -> Meaning | None:
    """Return the meaning of `code` in `codes`, or None if no key matches."""
    if (exact := codes.get(code)) is not None:
        return exact
    prefixes = [key for key in codes if key.endswith("*") and code.startswith(key[:-1])]
    return codes[max(prefixes, key=len)] if prefixes else None


@dataclass(frozen=True)
class Vendor:
    """A cloud vendor, with the meanings of its common error codes."""

    name: str
    codes: Codes


@dataclass(frozen=True)
class Product:
    """A vendor's product: one API version behind one endpoint."""

    vendor: Vendor
    name: str
    version: str
    #: The host that serves the product, unless the account names its own endpoint.
    host: str
    #: The address of an action's documentation, with ``{version}`` and ``{action}``.
    page: str


@dataclass(frozen=True)
class StatusField:
    """Where a status reply holds its value, and what the values mean.

    A dot in `path` descends into an object: ``Job.Status``.
    """

    path: str
    states: Mapping[int | str, State]

    def read(self, reply: Mapping[str, Any]) -> Status:
        """Return the status in `reply`. A value that is missing or not listed is ``unknown``."""
        value: Any = reply
        for name in self.path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        raw = value if isinstance(value, int | str) and not isinstance(value, bool) else None
        state = State.UNKNOWN if raw is None else self.states.get(raw, State.UNKNOWN)
        return Status(raw=raw, state=state, over=state is State.STOPPED)


@dataclass(frozen=True)
class Spec:
    """Everything about an operation except its parameters."""

    product: Product
    action: str
    kind: Kind
    #: The vendor's limit in calls per second, for one account.
    limit: float
    #: The HTTP method that the vendor documents.
    method: str = "POST"
    #: Meanings of codes for this operation only. They take precedence over the vendor's.
    codes: Codes = field(default_factory=dict)
    #: For a status operation that queries one stream task: where its reply holds the state.
    status: StatusField | None = None
    #: For a stop: the id of the status operation that shows whether it took effect.
    status_twin: str | None = None
    #: The parameter that names the stream task, under the vendor's name. A listing may have none.
    task: str = "TaskId"

    @property
    def id(self) -> str:
        """``<product>.<Action>``."""
        return f"{self.product.name}.{self.action}"

    @property
    def source(self) -> str:
        """The address of the action's documentation."""
        return self.product.page.format(version=self.product.version, action=self.action)

    def meaning(self, code: str) -> Meaning | None:
        """Return the meaning of `code`: from the operation's own codes, then from its vendor's; None if unknown."""
        own = meaning_of(code, self.codes)
        return own if own is not None else meaning_of(code, self.product.vendor.codes)


class Operation(BaseModel):
    """One API action with its parameters; the base class of every declaration.

    Subclass it, and describe the call in class arguments::

        class StopMPUTask(Operation, product=LIVE, kind=Kind.STOP, limit=10):
            app_id: Name
            task_id: Name

    A parameter's wire name is its field name in PascalCase. Raises :class:`~streamstop.errors.InvalidCommand`
    if a parameter is not valid.
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

    def __init_subclass__(cls, *, product: Product, kind: Kind, limit: float, **more: Any) -> None:
        """Build :attr:`spec` from the class arguments."""
        super().__init_subclass__()
        action = more.pop("action", cls.__name__)
        cls.spec = Spec(product=product, action=action, kind=kind, limit=limit, **more)

    def __init__(self, /, **parameters: Any) -> None:  # input may have a parameter called "self"
        try:
            super().__init__(**parameters)
        except ValidationError as error:
            raise self._invalid(error) from None

    @classmethod
    def from_strings(cls, parameters: Mapping[str, str]) -> Self:
        """Create the operation from text values, such as those of a command line.

        Raises :class:`~streamstop.errors.InvalidCommand`.
        """
        numbers = {f.alias for f in cls.model_fields.values() if _takes_number(f.annotation)}
        return cls(**{key: _parse_number(value) if key in numbers else value for key, value in parameters.items()})

    @property
    def params(self) -> dict[str, str | int]:
        """The parameters under the vendor's own names."""
        return self.model_dump(by_alias=True, exclude_none=True)

    @property
    def stream_task(self) -> str | None:
        """The id of the stream task; None for a listing of many tasks. It may not be unique: other parameters count."""
        task_id = self.params.get(self.spec.task)
        return None if task_id is None else str(task_id)

    @classmethod
    def _invalid(cls, error: ValidationError) -> InvalidCommand:
        """Return an error that names one parameter and what is allowed.

        A misspelt parameter goes first: the missing one that pydantic reports before it is only the consequence.
        """
        details = error.errors(include_url=False, include_input=False)
        unknown = islice((e for e in details if e["type"] == "extra_forbidden"), _MAX_COMPARED)
        first = next((e for e in unknown if cls._nearest(_name_of(e)) is not None), details[0])
        name = _name_of(first)
        wire = next((f.alias for key, f in cls.model_fields.items() if name in {key, f.alias}), name)
        return InvalidCommand(f"{cls.spec.id}: {cls._describe(first, wire)}", field=wire)

    @classmethod
    def _nearest(cls, name: str | None) -> str | None:
        """Return the parameter that `name` misspells, in case or by a few letters; None if there is none."""
        aliases = {str(f.alias).casefold(): f.alias for f in cls.model_fields.values()}
        near = difflib.get_close_matches((name or "")[:100].casefold(), aliases, n=1, cutoff=0.75)
        return aliases[near[0]] if near else None

    @classmethod
    def _describe(cls, error: ErrorDetails, wire: str | None) -> str:
        names = ", ".join(str(f.alias) for f in cls.model_fields.values())
        match error["type"]:
            case "missing":
                return f"{wire} is required (parameters: {names})"
            case "extra_forbidden":
                nearest = cls._nearest(wire)
                hint = f"parameters: {names}" if nearest is None else f"did you mean {nearest}?"
                return f"{(wire or '')[:100]} is not a parameter of this operation ({hint})"
            case "value_error":
                return f"{wire} {error['ctx']['error']}"
            case _:
                # pydantic: "Input should be a valid integer", "String should have at most 255 characters"
                return f"{wire} {re.sub(r'^(Input|String|Value) should', 'must', error['msg'])}"


def _name_of(error: ErrorDetails) -> str | None:
    return str(error["loc"][0]) if error["loc"] else None


def _takes_number(annotation: Any) -> bool:
    """Return whether a parameter's type is a number or an optional number."""
    return annotation is int or any(map(_takes_number, get_args(annotation)))


def _parse_number(text: str) -> int | str:
    """Return `text` as a number. Other text stays text, and so does a number too long for ``int``."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 1000 else text
