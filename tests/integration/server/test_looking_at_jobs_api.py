"""Jobs over HTTP, on a real Redis: look, wait, cancel, find."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator

import pytest
from redis import Redis

from streamstop import AsyncClient, Client, Command, Sighting, Where
from streamstop.operations import StopEdgeTranscodeJob, StopMPUTask
from streamstop_server.queue import search
from tests.support.dead_letters import COMMAND, LANE, FailingLanes
from tests.support.http_app import HttpApp
from tests.support.manual_clock import ManualClock

ACCOUNT = LANE.account
URL = "/v1/jobs"


def test_an_id_that_no_job_has_is_unknown(service: HttpApp) -> None:
    for job_id in (f"{LANE.name}.{'0' * 32}", "nonsense", "a.b.c.d"):
        for method in ("GET", "DELETE"):
            answer = service.client.request(method, f"{URL}/{job_id}")
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:streamstop:problem:unknown-job")
    started = time.monotonic()
    assert service.client.get(f"{URL}/{LANE.name}.{'0' * 32}?wait=60").status_code == 404
    assert time.monotonic() - started < 30, "nobody waits for it to the end"


def test_a_wait_returns_as_soon_as_the_job_has_ended(service: HttpApp, client: Client) -> None:
    job = client.enqueue(StopMPUTask(app_id="a", task_id="t"), account=ACCOUNT)
    cancelling = threading.Timer(0.5, job.cancel)
    cancelling.start()
    started = time.monotonic()
    shown = service.client.get(f"{URL}/{job.id}?wait=60").json()
    cancelling.join()
    assert time.monotonic() - started < 30
    assert (shown["state"], shown["outcome"]["result"]) == ("ended", "cancelled")


def test_at_the_end_of_a_wait_the_state_is_returned(service: HttpApp, client: Client) -> None:
    job = client.enqueue(StopMPUTask(app_id="a", task_id="t"), account=ACCOUNT)
    shown = service.client.get(f"{URL}/{job.id}?wait=0.1").json()
    assert (shown["state"], shown["place"], shown["outcome"]) == ("waiting", 1, None)
    for wait in ("-1", "61", "x", "nan"):
        answer = service.client.get(f"{URL}/{job.id}?wait={wait}")
        assert (answer.status_code, answer.json()["field"]) == (422, "wait")


def test_a_job_in_flight_and_a_dead_one_are_shown_and_not_cancelled(service: HttpApp, real_redis: Redis) -> None:
    lanes = FailingLanes(real_redis, ManualClock())  # type: ignore[arg-type]
    dead = lanes.fail_job("dead", code="Forbidden.RAM", command=COMMAND)
    body = {"operation": LANE.operation, "account": ACCOUNT, "params": {"AppId": "a", "TaskId": "t"}}
    job_id = service.client.post(URL, json=body).json()["jobs"][0]["id"]
    lanes.take()
    assert service.client.get(f"{URL}/{job_id}").json()["state"] == "in_flight"
    shown = service.client.get(f"{URL}/{dead}").json()
    assert (shown["state"], shown["dead_letter"], shown["outcome"]["code"]) == ("ended", True, "Forbidden.RAM")
    for one in (job_id, dead):
        answer = service.client.delete(f"{URL}/{one}")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:streamstop:problem:not-cancellable")


def test_cancelling_says_what_became_of_the_job_and_who_did_it(service: HttpApp, client: Client) -> None:
    job = client.enqueue(StopMPUTask(app_id="a", task_id="t"), account=ACCOUNT)
    for _ in range(2):
        answer = service.client.delete(f"{URL}/{job.id}")
        assert answer.status_code == 200
        shown = answer.json()
        assert (shown["state"], shown["place"]) == ("ended", None)
        assert (shown["outcome"]["result"], shown["outcome"]["message"]) == ("cancelled", "cancelled by everything")
    (event,) = client.events()
    assert (event.kind, event.by, event.account) == ("cancelled", "everything", ACCOUNT)


def test_the_jobs_of_a_task_are_found_wherever_they_are(service: HttpApp, client: Client) -> None:
    commands = [Command(operation=StopMPUTask(app_id="a", task_id="t"), account=ACCOUNT) for _ in range(3)]
    jobs = client.enqueue_many([*commands, Command(operation=StopMPUTask(app_id="a", task_id="u"), account=ACCOUNT)])
    client.register("room-1", commands[0].operation, account=ACCOUNT)
    answer = service.client.get(URL, params={"task": "t"}).json()
    assert {each["job_id"] for each in answer["found"] if each["where"] == "waiting"} == {job.id for job in jobs[:3]}
    assert [each["room"] for each in answer["found"] if each["where"] == "registered"] == ["room-1"]
    assert answer["more"] is False
    some = service.client.get(URL, params={"task": "t", "limit": 2}).json()
    assert (len(some["found"]), some["more"]) == (2, True)
    assert service.client.get(URL, params={"task": "t", "account": "other"}).json()["found"] == []
    for wrong in ({}, {"task": ""}, {"task": "t", "operation": "x"}, {"task": "t", "account": "No"}):
        assert service.client.get(URL, params=wrong).status_code == 422


def test_a_task_is_found_by_its_job_id_too(service: HttpApp, client: Client) -> None:
    job = client.enqueue(StopEdgeTranscodeJob(cluster_id="c", job_id="j-1"), account=ACCOUNT)
    answer = service.client.get(URL, params={"task": "j-1"}).json()
    assert [each["job_id"] for each in answer["found"]] == [job.id]
    assert (answer["more"], answer["incomplete"]) == (False, False)


def test_a_search_that_takes_too_long_answers_what_it_has_found(
    service: HttpApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    sighting = Sighting(where=Where.DEAD, account=ACCOUNT, operation="live.StopMPUTask", params={}, job_id="j")
    given_up = []

    async def endless(*_arguments: object, **_options: object) -> AsyncGenerator[Sighting, None]:
        yield sighting
        try:
            await asyncio.Event().wait()
        finally:
            given_up.append(True)

    monkeypatch.setattr(AsyncClient, "find", endless)
    monkeypatch.setattr(search, "LONGEST_S", 0.05)
    answer = service.client.get(URL, params={"task": "t"}).json()
    assert ([each["job_id"] for each in answer["found"]], answer["more"], answer["incomplete"]) == (["j"], False, True)
    service.sign_in("reader")
    page = service.client.get("/jobs", params={"task": "t"}, headers={"Accept": "text/html"}).text
    assert "the search was cut short" in page
    assert given_up == [True, True]
