"""Rooms, as the API has them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from streamstop_server.access.auth import Enqueuer, Reader
from streamstop_server.access.coverage import check_commands, check_room, covered_room
from streamstop_server.api._stops import OneOrMany, Stop, Stops, commands_of, commands_within
from streamstop_server.http.documented import errors
from streamstop_server.http.problems import Problem
from streamstop_server.http.segments import ROOM
from streamstop_server.queue.client import Queue
from streamstop_server.waiting.followed_shutdown import ShutdownProgress

router = APIRouter(tags=["rooms"])

#: A room's name in a path.
Room = Annotated[str, Path(description="The room's name, percent-encoded: `/` is `%2F`.", examples=["room-42"])]
_SHUTDOWN = "9f86d081884c7d659a2feaa0c55ad015"
_LOCATION = {"Location": {"description": "The shutdown's path.", "schema": {"type": "string"}}}
_JOINED: dict[int | str, dict[str, Any]] = {
    202: {"description": "The room closes: the tasks are stopped, as part of its shutdown.", "headers": _LOCATION}
}


class Registration(BaseModel):
    """Stream tasks that were registered."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"room": "room-42", "tasks": 1, "shutdown": None}]})

    room: str
    tasks: Annotated[int, Field(description="How many tasks the request had.")]
    shutdown: Annotated[str | None, Field(description="The id of the shutdown that the tasks joined.")] = None


class Unregistration(BaseModel):
    """Stream tasks that were removed."""

    room: str
    unregistered: Annotated[int, Field(description="How many of them were registered.")]


class RoomDocument(BaseModel):
    """A room at one moment."""

    room: str
    registered: Annotated[
        int | None,
        Field(description="How many stream tasks are registered; null: the token does not cover the accounts of all."),
    ]
    tasks: Annotated[list[Stop], Field(description="A page of them, in no order.")]
    next: Annotated[str | None, Field(description="The cursor of the next page; null after the last.")]
    shutdown: Annotated[
        ShutdownProgress | None,
        Field(description="The open or latest shutdown; null: there is none, or the token does not cover it."),
    ]


class StopRoom(BaseModel):
    """How to stop a room."""

    model_config = ConfigDict(extra="forbid")

    verify: Annotated[
        bool, Field(strict=True, description="Follow each stop until the vendor reports that the task is over.")
    ] = False
    callback: Annotated[
        str | None,
        Field(
            description="An `https://` URL that receives a signed POST when the shutdown has ended.",
            examples=["https://service.example.com/stopped"],
        ),
    ] = None
    commands: Annotated[Stops, Field(description="Tasks to stop beside those that are registered.")] = []


class Closing(BaseModel):
    """A room that closes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"room": "room-42", "shutdown": _SHUTDOWN}]})

    room: str
    shutdown: Annotated[str, Field(description="The shutdown's id.")]


class Reopening(BaseModel):
    """A room that can be used again."""

    room: str
    reopened: bool = True


@router.put(f"{ROOM}/tasks", status_code=201, responses=_JOINED)
async def register_tasks(
    room: Room, stops: OneOrMany, caller: Enqueuer, queue: Queue, response: Response
) -> Registration:
    """Register stream tasks that run in a room, each by the stop that ends it.

    Doing it again changes nothing. In a room that closes, or that closed within the last ten minutes, the tasks are
    stopped at once (202).
    """
    commands = await commands_of(stops)
    check_commands(caller, commands)
    joined = await queue.register_many(room, commands)
    if joined is not None:
        response.status_code = 202
        response.headers["Location"] = _path_of(joined.id)
    return Registration(room=room, tasks=len(commands), shutdown=joined and joined.id)


@router.delete(f"{ROOM}/tasks")
async def unregister_tasks(room: Room, stops: OneOrMany, caller: Enqueuer, queue: Queue) -> Unregistration:
    """Remove stream tasks from a room, such as those that have ended by themselves. The body is as for PUT."""
    commands = await commands_of(stops)
    check_commands(caller, commands)
    return Unregistration(room=room, unregistered=await queue.unregister_many(room, commands))


@router.get(ROOM)
async def look_at_room(
    room: Room,
    caller: Reader,
    queue: Queue,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="About how many tasks a page has.")] = 100,
) -> RoomDocument:
    """Return the registered stream tasks of a room, page by page, and its open or latest shutdown.

    A token with `accounts` gets the tasks of these accounts, and the shutdown if it covers all of its accounts.
    """
    seen = await covered_room(caller, queue, room, cursor, limit)
    return RoomDocument.model_construct(
        room=room,
        registered=seen.total,
        tasks=[Stop.of(command) for command in seen.tasks],
        next=seen.next,
        shutdown=None if seen.shutdown is None else ShutdownProgress.of(seen.shutdown),
    )


@router.post(f"{ROOM}/shutdown", status_code=202, responses={202: {"headers": _LOCATION}})
async def stop_room(
    room: Room, caller: Enqueuer, queue: Queue, response: Response, how: StopRoom | None = None
) -> Closing:
    """Stop every stream task that is registered in a room, and further ones.

    While the room's shutdown is open, the same one is returned: further commands join it, and it keeps its `verify` and
    `callback`. A room in which nothing is registered closes too. The `total` of its shutdown is 0: its name may be
    mistyped.
    """
    how = how or StopRoom()
    commands = await commands_within(how.commands, "commands")
    check_commands(caller, commands)
    await check_room(caller, queue, room)
    shutdown = await queue.stop_room(room, commands, verify=how.verify, callback=how.callback, by=caller.name)
    response.headers["Location"] = _path_of(shutdown.id)
    return Closing(room=room, shutdown=shutdown.id)


@router.post(f"{ROOM}/reopen", responses=errors(409))
async def reopen_room(room: Room, caller: Enqueuer, queue: Queue) -> Reopening:
    """Let a closed room be used again at once: tasks that are registered are no longer stopped."""
    await check_room(caller, queue, room)
    if not await queue.reopen_room(room):
        raise Problem(409, "shutdown-open", "the room's shutdown is still open; it goes on")
    return Reopening(room=room)


def _path_of(shutdown: str) -> str:
    return f"/v1/shutdowns/{shutdown}"
