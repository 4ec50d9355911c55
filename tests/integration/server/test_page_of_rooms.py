"""Screens of rooms, jobs and dead letters on a real Redis: large rooms, awkward names, tokens of some accounts."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from redis import Redis

from streamstop import Client, Command, Where
from streamstop._redis.dead import DeadLetterStore
from streamstop.operations import StopMPUTask
from tests.support.dead_letters import FailingLanes
from tests.support.http_app import FOR_PEOPLE, SAME_ORIGIN, HttpApp, http_app
from tests.support.manual_clock import ManualClock

ACCOUNT, OTHER = "live-cn", "another-account"
LARGEST = 200_000


def stops(count: int, account: str = ACCOUNT) -> list[Command]:
    return [Command(operation=StopMPUTask(app_id="a", task_id=f"t{n}"), account=account) for n in range(count)]


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[HttpApp]:
    with http_app(redis_url, tmp_path) as running:
        running.sign_in("everything")
        yield running


def look(service: HttpApp, path: str, status: int = 200) -> str:
    answer = service.client.get(path, headers=FOR_PEOPLE)
    assert answer.status_code == status, (path, answer.text)
    assert len(answer.content) < LARGEST
    return answer.text


def test_a_large_room_is_read_by_pages(service: HttpApp, client: Client) -> None:
    client.register_many("big", stops(10_000))
    path, tasks, pages = "/rooms/big", set(), 0
    while path:
        text = look(service, path)
        assert "10,000 stream tasks" in text
        tasks |= set(re.findall(r"TaskId=(t\d+)", text))
        pages += 1
        following = re.search(r'href="([^"]*cursor=[^"]*)">Next page', text)
        path = following[1] if following else ""
    assert len(tasks) == 10_000
    assert pages > 50


@pytest.mark.parametrize(
    "name", ["a/b", "..", ".", "50%2F", "é 🎬", "<script>alert(1)</script>", "'\"&", "a?b#c", "a+b"]
)
def test_any_name_of_a_room_leads_to_its_screens(service: HttpApp, client: Client, name: str) -> None:
    client.register_many(name, stops(2))
    found = service.client.get("/rooms", params={"room": name, "act": "stop"}, headers=FOR_PEOPLE)
    text = found.text if found.status_code == 200 else look(service, found.headers["location"])
    assert "2 registered stream tasks" in text
    assert "<script>alert" not in text
    answer = service.client.post("/rooms", data={"room": name}, headers=SAME_ORIGIN)
    assert answer.status_code == 303
    shutdown = client.room(name).shutdown
    assert answer.headers["location"] == f"/shutdowns/{shutdown}"
    assert "Shutdown of" in look(service, answer.headers["location"])
    back = re.search(r'>Rooms</a> \S <a href="([^"]*)"', look(service, answer.headers["location"]))
    assert back is not None
    assert "2 stream tasks" in look(service, back[1].replace("&amp;", "&"))


def test_a_name_that_cannot_be_is_refused(service: HttpApp) -> None:
    for name in ("r" * 257, " ", "a\x00b"):
        answer = service.client.post("/rooms", data={"room": name}, headers=SAME_ORIGIN)
        assert answer.status_code == 422, name
    look(service, f"/rooms/{quote('r' * 257)}", 422)
    look(service, "/rooms/big?cursor=nonsense", 422)


def test_a_token_of_some_accounts_sees_their_tasks_and_stops_rooms_of_theirs_alone(
    service: HttpApp, client: Client
) -> None:
    client.register_many("mixed", [*stops(3), *stops(2, OTHER)])
    client.register_many("own", stops(2, OTHER))
    service.sign_in("elsewhere")
    shown = look(service, "/rooms/mixed")
    assert shown.count("TaskId=") == 2
    assert ACCOUNT not in shown
    assert "5 stream tasks" not in shown
    refused = service.client.post("/rooms", data={"room": "mixed"}, headers=SAME_ORIGIN)
    assert refused.status_code == 403
    assert client.room("mixed").shutdown is None
    assert service.client.post("/rooms", data={"room": "own"}, headers=SAME_ORIGIN).status_code == 303


def test_shutdowns_are_listed_by_pages(service: HttpApp, client: Client) -> None:
    for number in range(60):
        client.stop_room(f"room-{number}", stops(1))
    first, second = look(service, "/rooms"), look(service, "/rooms?page=2")
    rooms = [set(re.findall(r">(room-\d+)</a>", text)) for text in (first, second)]
    assert [len(found) for found in rooms] == [50, 10]
    assert not rooms[0] & rooms[1]
    assert "60 open" in first


def test_a_job_is_shown_while_it_waits_and_cancelled(service: HttpApp, client: Client) -> None:
    jobs = client.enqueue_many(stops(3))
    assert "place 3 of its lane" in look(service, f"/jobs/{jobs[2].id}")
    answer = service.client.post("/jobs", data={"job_id": jobs[2].id}, headers=SAME_ORIGIN)
    assert answer.headers["location"] == f"/jobs/{jobs[2].id}"
    assert "cancelled by everything" in look(service, f"/jobs/{jobs[2].id}")
    assert service.client.post("/jobs", data={"job_id": jobs[2].id}, headers=SAME_ORIGIN).status_code == 303
    assert "there is no job never/enqueued" in look(service, "/jobs/never%2Fenqueued", 404)
    found = look(service, "/jobs?task=t0")
    assert "waiting, place 1" in found
    view = jobs[0].look()
    assert view is not None
    assert view.where is Where.WAITING


def test_a_letter_that_comes_after_the_question_stays_however_late_the_answer_is_handled(
    service: HttpApp, real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = FailingLanes(real_redis, ManualClock())  # type: ignore[arg-type]
    lanes.fail_job("before")
    asked = re.search(r'name="asked_at" value="([^"]*)"', look(service, "/dead-letters?act=drop"))
    assert asked is not None
    lanes.fail_job("after")
    pages = DeadLetterStore.pages

    def late(*arguments: Any) -> Any:
        time.sleep(0.2)
        return pages(*arguments)

    monkeypatch.setattr(DeadLetterStore, "pages", late)
    answer = service.client.post("/dead-letters", data={"act": "drop", "asked_at": asked[1]}, headers=SAME_ORIGIN)
    assert "1 dead letter is dropped" in answer.text
    assert lanes.ids() == ["after"]


def test_a_session_that_is_over_comes_back_to_the_same_room(service: HttpApp, client: Client) -> None:
    service.client.cookies.clear()
    answer = service.client.get("/rooms/a%2Fb%25?act=stop", headers=FOR_PEOPLE)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=/rooms/a%252Fb%2525%3Fact%3Dstop"
