"""Commands in the bodies of requests, stops of stream tasks among them: one, or an array."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Body
from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

from streamstop import Command, InvalidCommand, operations
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

    operation: Annotated[str, Field(description="`<product>.<Action>`, as `GET /v1/operations` lists them.")]
    account: Annotated[str, Field(description="The account's name in the workers' accounts file.")]
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
        Field(strict=True, gt=0, allow_inf_nan=False, description="It is not sent after so many seconds."),
    ] = None

    def command(self) -> Command:
        """Return the command. Raises :class:`~streamstop.InvalidCommand`."""
        operation = operations.parse(self.operation, self.params)
        return Command(operation=operation, account=self.account, priority=self.priority, expires_in=self.expires_in)


def _form(body: object) -> str:
    return "many" if isinstance(body, list) else "one"


_EXAMPLES: Any = {
    "one": {"summary": "One stream task", "value": _EXAMPLE},
    "many": {"summary": "Several", "value": [_EXAMPLE, {**_EXAMPLE, "params": {"AppId": "a", "TaskId": "t-2"}}]},
}
#: One stop or one command, or an array, as the body of a request.
OneOrMany = Annotated[
    Annotated[Stop, Tag("one")] | Annotated[list[Stop], Field(min_length=1, max_length=MOST), Tag("many")],
    Discriminator(_form),
    Body(openapi_examples=_EXAMPLES),
]
OneOrManyCommands = Annotated[
    Annotated[CommandDocument, Tag("one")]
    | Annotated[list[CommandDocument], Field(min_length=1, max_length=MOST), Tag("many")],
    Discriminator(_form),
    Body(openapi_examples=_EXAMPLES),
]


async def commands_of(stops: Stop | Sequence[Stop], field: str = "") -> list[Command]:
    """Return the commands; `field` is where the array is in the body. The first mistake is a problem (422)."""
    is_one = isinstance(stops, Stop)
    listed = [stops] if isinstance(stops, Stop) else stops
    if len(listed) <= _AT_ONCE:
        return _commands(listed, is_one=is_one, field=field)
    return await asyncio.to_thread(_commands, listed, is_one=is_one, field=field)


def place_of(index: int, name: str, *, is_one: bool) -> str:
    """Return where a command's field is in the body: ``account``, or ``[3].account`` in an array."""
    return name if is_one else f"[{index}].{name}"


def _commands(stops: Sequence[Stop], *, is_one: bool, field: str) -> list[Command]:
    commands = []
    for number, stop in enumerate(stops):
        try:
            commands.append(stop.command())
        except InvalidCommand as error:
            problem = Problem.of(error)
            name = error.field if error.field in _FIELDS else f"params.{error.field}" if error.field else "params"
            problem.field = field + place_of(number, name, is_one=is_one)
            raise problem from None
    return commands
