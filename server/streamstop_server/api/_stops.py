"""Commands in the bodies of requests, stops of stream tasks among them: one, or an array.

FastAPI would check all of a body at once in the event loop, and thousands of commands would hold up every other
request. So the types of bodies describe commands, and :func:`commands_of` checks them, many of them in a thread.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import Body
from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    TypeAdapter,
    ValidationError,
    WrapValidator,
)

from streamstop import Command, InvalidCommand, operations
from streamstop_server.http import documented
from streamstop_server.http.problems import Problem

#: The most commands of one request.
MOST = 10_000
#: So many commands are checked in the event loop; more are checked in a thread.
_AT_ONCE = 50
_FIELDS = {"operation", "account", "priority", "expires_in"}
_EXAMPLE: dict[str, JsonValue] = {
    "operation": "live.StopMPUTask",
    "account": "live-cn",
    "params": {"AppId": "yourapp", "TaskId": "t-1"},
}


class Stop(BaseModel):
    """The stop of a stream task: what to call, with whose account, and with which parameters."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    operation: Annotated[
        str,
        Field(
            description="`<product>.<Action>`, as `GET /v1/operations` lists them.",
            json_schema_extra=documented.OPERATION,
        ),
    ]
    account: Annotated[
        str,
        Field(description="The account's name in the workers' accounts file.", json_schema_extra=documented.ACCOUNT),
    ]
    params: Annotated[dict[str, Any], Field(description="The parameters, under the vendor's own names.")] = {}

    @classmethod
    def of(cls, command: Command) -> "Stop":
        """Return the stop of a command."""
        return cls.model_construct(
            operation=command.operation.spec.id, account=command.account, params=command.operation.params
        )

    def command(self) -> Command:
        """Return the command. Raises :class:`~streamstop.InvalidCommand`."""
        return Command(operation=operations.parse(self.operation, self.params), account=self.account)


class CommandDocument(Stop):
    """A command: one operation for one account."""

    priority: Annotated[int, Field(strict=True, ge=0, le=9, description="0 goes first within the lane.")] = 0
    expires_in: Annotated[
        float | None,
        Field(
            strict=True,
            ge=documented.SHORTEST_S,
            allow_inf_nan=False,
            description="It is not sent after so many seconds.",
        ),
    ] = None

    def command(self) -> Command:
        """Return the command. Raises :class:`~streamstop.InvalidCommand`."""
        operation = operations.parse(self.operation, self.params)
        return Command(operation=operation, account=self.account, priority=self.priority, expires_in=self.expires_in)


def _form(body: object) -> str:
    return "many" if isinstance(body, list) else "one"


#: Checks nothing: :func:`commands_of` does.
_LATER = WrapValidator(lambda value, _check: value)
_MANY = Field(min_length=1, max_length=MOST)

_EXAMPLES: Any = {
    "one": {"summary": "One stream task", "value": _EXAMPLE},
    "many": {"summary": "Several", "value": [_EXAMPLE, {**_EXAMPLE, "params": {"AppId": "a", "TaskId": "t-2"}}]},
}
#: One stop or one command, or an array, as the body of a request.
OneOrMany = Annotated[
    Annotated[Stop, Tag("one")] | Annotated[list[Stop], _MANY, Tag("many")],
    Discriminator(_form),
    _LATER,
    Body(openapi_examples=_EXAMPLES),
]
OneOrManyCommands = Annotated[
    Annotated[CommandDocument, Tag("one")] | Annotated[list[CommandDocument], _MANY, Tag("many")],
    Discriminator(_form),
    _LATER,
    Body(openapi_examples=_EXAMPLES),
]
#: Stops within the body of a request.
Stops = Annotated[list[Stop], Field(max_length=MOST), _LATER]

_FORM = TypeAdapter[list[Any]](Annotated[list[Any], _MANY])
_PART = TypeAdapter[list[Any]](Annotated[list[Any], Field(max_length=MOST)])


async def commands_of(body: object, kind: type[Stop] = Stop) -> list[Command]:
    """Return the commands of a body that is one of `kind`, or an array. The first mistake is a problem (422)."""
    if not isinstance(body, list):
        return _commands([body], kind, lambda _, name: name)
    return await _checked(_FORM, body, kind, "")


async def commands_within(stops: object, field: str) -> list[Command]:
    """Return the commands of the array that is `field` of a body."""
    return await _checked(_PART, stops, Stop, field)


async def _checked(form: TypeAdapter[list[Any]], body: object, kind: type[Stop], field: str) -> list[Command]:
    try:
        listed = form.validate_python(body)
    except ValidationError as error:
        raise _refused(error, field) from None

    def place(number: int, name: str) -> str:
        return field + place_of(number, name, is_one=False)

    if len(listed) <= _AT_ONCE:
        return _commands(listed, kind, place)
    return await asyncio.to_thread(_commands, listed, kind, place)


def place_of(index: int, name: str, *, is_one: bool) -> str:
    """Return where a command's field is in the body: ``account``, or ``[3].account`` in an array."""
    return name if is_one else f"[{index}].{name}"


def _commands(documents: Sequence[object], kind: type[Stop], place: Callable[[int, str], str]) -> list[Command]:
    commands = []
    for number, document in enumerate(documents):
        try:
            commands.append(kind.model_validate(document).command())
        except ValidationError as error:
            raise _refused(error, place(number, "").rstrip(".")) from None
        except InvalidCommand as error:
            problem = Problem.of(error)
            name = error.field if error.field in _FIELDS else f"params.{error.field}" if error.field else "params"
            problem.field = place(number, name)
            raise problem from None
    return commands


def _refused(error: ValidationError, field: str) -> RequestValidationError:
    """Return the first mistake as FastAPI has it. `field` is where in the body it was looked for."""
    first = error.errors(include_url=False, include_input=False)[0]
    return RequestValidationError([{**first, "loc": ("body", *([field] if field else []), *first["loc"])}])
