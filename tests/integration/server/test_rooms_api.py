"""Rooms over HTTP, on a real Redis: register, unregister, look, stop and reopen; their names, and whose they are."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from streamstop import Client, Command, ShutdownStatus
from streamstop.operations import GetMPUTaskStatus, StopMPUTask
from tests.support.http_app import HttpApp

ACCOUNT, OTHER = "live-cn", "another-account"
#: Names that a path must be able to carry.
NAMES = [
    "room-42",
    "a/b",
    "a/b/tasks",
    "/",
    "//x//",
    "100%",
    "a%2Fb",
    "a b?c#d&e=f;g",
    "直播间/✓",
    "\"quoted\" 'room'",
    "shutdown",
    "tasks",
    "...",
    "a\ufdd0b/\ufdd01",
]


def stop(task: str, account: str = ACCOUNT) -> dict[str, Any]:
    return {"operation": "live.StopMPUTask", "account": account, "params": {"AppId": "app", "TaskId": task}}


def path(room: str, rest: str = "") -> str:
    return f"/v1/rooms/{quote(room, safe='')}{rest}"


def unregister(service: HttpApp, room: str, stops: object) -> Any:
    return service.client.request("DELETE", path(room, "/tasks"), json=stops)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_room_works_in_a_path(name: str, service: HttpApp, client: Client) -> None:
    answer = service.client.put(path(name, "/tasks"), json=stop("t-1"))
    assert (answer.status_code, answer.json()) == (201, {"room": name, "tasks": 1, "shutdown": None})
    assert len(client.room(name).tasks) == 1
    shown = service.client.get(path(name)).json()
    assert (shown["room"], shown["registered"], shown["tasks"]) == (name, 1, [stop("t-1")])
    closing = service.client.post(path(name, "/shutdown")).json()
    assert closing["room"] == name == client.shutdown(closing["shutdown"]).progress().room
    assert unregister(service, name, stop("t-1")).json() == {"room": name, "unregistered": 1}
    assert service.client.post(path(name, "/reopen")).status_code == httpx.codes.CONFLICT


def test_an_encoded_slash_reaches_no_other_route(service: HttpApp, client: Client) -> None:
    answer = service.client.put("/v1/rooms/a%2Ftasks", json=stop("t-1"))
    assert answer.status_code == httpx.codes.METHOD_NOT_ALLOWED
    assert client.room("a").tasks == ()
    assert service.client.put("/v1/rooms/a/b/tasks", json=stop("t-1")).status_code == httpx.codes.NOT_FOUND


def test_what_is_no_name_of_a_room_is_told(service: HttpApp) -> None:
    for name in ("%00", "%20", "a%0Ab", "x" * 257):
        for method in ("GET", "PUT"):
            rest = "" if method == "GET" else "/tasks"
            answer = service.client.request(method, f"/v1/rooms/{name}{rest}", json=stop("t-1"))
            assert (answer.status_code, answer.json()["field"]) == (422, "room"), name


def test_tasks_are_registered_once_and_many_at_a_time(service: HttpApp, client: Client) -> None:
    many = [stop(f"t-{number}") for number in range(300)]
    for _ in range(2):
        answer = service.client.put(path("room", "/tasks"), json=many)
        assert (answer.status_code, answer.json()["tasks"]) == (201, 300)
    assert len(client.room("room").tasks) == 300
    assert unregister(service, "room", [*many[:3], stop("unknown")]).json()["unregistered"] == 3
    assert service.client.get(path("room")).json()["registered"] == 297


def test_a_room_is_shown_page_by_page(service: HttpApp) -> None:
    many = [stop(f"t-{number}") for number in range(500)]
    service.client.put(path("room", "/tasks"), json=many)
    shown: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor:
        page = service.client.get(path("room"), params={"limit": 100} | ({"cursor": cursor} if cursor else {})).json()
        assert page["registered"] == 500
        assert len(page["tasks"]) < 200
        shown += [task["params"]["TaskId"] for task in page["tasks"]]
        cursor, pages = page["next"], pages + 1
    assert pages > 2
    assert sorted(shown) == sorted(f"t-{number}" for number in range(500))


@pytest.mark.parametrize("cursor", ["x", "0.", "-1.ab", "1", "1.00000000", f"{2**64}.", "1." + "f" * 40])
def test_a_cursor_that_no_page_had_is_told(cursor: str, service: HttpApp) -> None:
    for of in ("/v1/rooms/room", f"/v1/shutdowns/{stopped(service)}/outcomes"):
        answer = service.client.get(of, params={"cursor": cursor})
        assert (answer.status_code, answer.json()["field"]) == (422, "cursor")


def stopped(service: HttpApp) -> str:
    return str(service.client.post(path("room", "/shutdown")).json()["shutdown"])


def test_the_first_mistake_is_told_with_its_place(service: HttpApp, client: Client) -> None:
    right = stop("t-1")
    status = {**right, "operation": GetMPUTaskStatus.spec.id}
    for body, field in (
        ([right, {**right, "operation": "live.StopMPUTasc"}], "[1].operation"),
        ([right, {**right, "params": {"AppId": "a"}}], "[1].params.TaskId"),
        ([right, {**right, "account": "No"}], "[1].account"),
        ([right, {"operation": right["operation"]}], "[1].account"),
        ([right, {**right, "priority": 1}], "[1].priority"),
        ({**right, "params": {"AppId": "a", "TaskID": "t"}}, "params.TaskID"),
        ({**right, "params": []}, "params"),
        ([right, status], "operation"),
        ([], None),
        ("text", None),
    ):
        answer = service.client.put(path("room", "/tasks"), json=body)
        assert (answer.status_code, answer.json().get("field")) == (422, field), answer.text
    answer = service.client.post(path("room", "/shutdown"), json={"commands": [right, {**right, "account": "No"}]})
    assert (answer.status_code, answer.json()["field"]) == (422, "commands[1].account")
    assert client.room("room").tasks == ()


def test_more_than_ten_thousand_tasks_are_refused(service: HttpApp) -> None:
    answer = service.client.put(path("room", "/tasks"), json=[stop("t-1")] * 10_001)
    assert answer.status_code == 422
    assert "10000" in answer.json()["detail"]


def test_a_stop_returns_the_same_shutdown_while_it_is_open(service: HttpApp, client: Client) -> None:
    service.client.put(path("room", "/tasks"), json=stop("t-1"))
    answer = service.client.post(path("room", "/shutdown"), json={"verify": True, "callback": "https://a.example/x"})
    shutdown = answer.json()["shutdown"]
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/shutdowns/{shutdown}")
    assert service.client.get(answer.headers["location"]).json()["status"] == ShutdownStatus.OPEN
    again = service.client.post(path("room", "/shutdown"), json={"commands": [stop("t-2")]})
    assert (again.status_code, again.json()["shutdown"]) == (202, shutdown)
    joined = service.client.put(path("room", "/tasks"), json=stop("t-3"))
    assert (joined.status_code, joined.json()["shutdown"]) == (202, shutdown)
    assert joined.headers["location"] == f"/v1/shutdowns/{shutdown}"
    assert service.client.get(path("room")).json()["shutdown"]["shutdown"] == shutdown
    assert client.shutdown(shutdown).progress().total >= 2


def test_a_callback_is_an_https_url_and_never_a_task(service: HttpApp, client: Client) -> None:
    for callback in ({"task": "app.stopped"}, "ftp://a.example", "http://a.example", "https://u:p@a.example", 1):
        answer = service.client.post(path("room", "/shutdown"), json={"callback": callback})
        assert (answer.status_code, answer.json()["field"]) == (422, "callback"), callback
    assert client.room("room").shutdown is None


def test_an_empty_room_that_was_stopped_is_reopened(service: HttpApp) -> None:
    service.client.post(path("room", "/shutdown"))
    assert service.client.put(path("room", "/tasks"), json=stop("t-1")).status_code == httpx.codes.ACCEPTED
    cancelled = service.client.delete(f"/v1/shutdowns/{stopped(service)}")
    assert cancelled.status_code == httpx.codes.OK
    assert service.client.post(path("other", "/reopen")).json() == {"room": "other", "reopened": True}
    assert service.client.put(path("other", "/tasks"), json=stop("t-1")).status_code == httpx.codes.CREATED


def test_a_token_for_certain_accounts_touches_only_rooms_of_theirs(service: HttpApp, client: Client) -> None:
    client.register_many(
        "room", [Command(operation=StopMPUTask(app_id="app", task_id=name), account=name) for name in (ACCOUNT, OTHER)]
    )
    client.register("theirs", StopMPUTask(app_id="app", task_id="t"), account=OTHER)
    restricted = service.bearer("elsewhere")
    for method, rest, body in (
        ("PUT", "/tasks", stop("t-9")),
        ("PUT", "/tasks", [stop("t-9", OTHER), stop("t-9")]),
        ("DELETE", "/tasks", stop("t-9")),
        ("POST", "/shutdown", None),
        ("POST", "/shutdown", {"commands": [stop("t-9", OTHER)]}),
        ("POST", "/reopen", None),
    ):
        answer = service.client.request(method, path("room", rest), json=body, headers=restricted)
        assert (answer.status_code, answer.json()["field"]) == (403, "account"), (method, rest)
    assert client.room("room").shutdown is None
    assert (
        service.client.post(
            path("theirs", "/shutdown"), json={"commands": [stop("t-9")]}, headers=restricted
        ).status_code
        == httpx.codes.FORBIDDEN
    )
    assert service.client.get(path("theirs"), headers=restricted).json()["registered"] == 1
    assert service.client.post(path("theirs", "/shutdown"), headers=restricted).status_code == httpx.codes.ACCEPTED


def test_a_token_for_certain_accounts_sees_its_own_tasks_of_a_shared_room(service: HttpApp, client: Client) -> None:
    client.register_many(
        "room", [Command(operation=StopMPUTask(app_id="app", task_id=name), account=name) for name in (ACCOUNT, OTHER)]
    )
    restricted = service.bearer("elsewhere")
    shown = service.client.get(path("room"), headers=restricted)
    assert shown.json() == {
        "room": "room",
        "registered": None,
        "tasks": [stop(OTHER, OTHER)],
        "next": None,
        "shutdown": None,
    }
    client.stop_room("room")
    answer = service.client.get(path("room"), headers=restricted)
    assert answer.json()["shutdown"] is None
    assert ACCOUNT not in answer.text
    both = service.client.get(path("room")).json()
    assert (both["registered"], len(both["tasks"]), both["shutdown"]["total"]) == (2, 2, 2)
