"""Dead letters over HTTP, on a real Redis: list by filters and pages, look, requeue and drop, one or all that match."""

from typing import Any

import pytest
from redis import Redis

from streamstop import Client, Lane, Result
from streamstop._redis import dead
from streamstop_server.api import dead_letters as api
from streamstop_server.page import dead_letters as page
from tests.support.dead_letters import COMMAND, LANE, OTHER, FailingLanes
from tests.support.http_app import FOR_PEOPLE, SAME_ORIGIN, HttpApp
from tests.support.manual_clock import ManualClock

URL = "/v1/dead-letters"
OF_OTHER = {**COMMAND, "operation": OTHER.operation, "account": OTHER.account, "params": {"SdkAppId": 1, "TaskId": "u"}}
#: An account that the token `elsewhere` covers.
COVERED = Lane("another-account", LANE.operation)


@pytest.fixture
def lanes(real_redis: Redis) -> FailingLanes:
    """Three letters, and a message that nobody can read."""
    made = FailingLanes(real_redis, ManualClock())  # type: ignore[arg-type]
    made.fail_job("a", code="Forbidden.RAM")
    made.fail_job("b", OTHER, result=Result.NOT_FOUND, command=OF_OTHER)
    made.fail_job("c", COVERED, result=Result.GAVE_UP, command={**COMMAND, "account": COVERED.account})
    real_redis.lpush(LANE.queue, b"not JSON <script>")
    made.take()
    return made


def names(service: HttpApp, **params: Any) -> list[str]:
    answer = service.client.get(URL, params=params)
    assert answer.status_code == 200, answer.text
    return [letter["id"].rpartition(".")[2] for letter in answer.json()["dead_letters"]]


@pytest.mark.usefixtures("lanes")
def test_letters_are_listed_by_filters_oldest_first(service: HttpApp) -> None:
    every = names(service)
    assert every[:3] == ["a", "b", "c"]
    assert len(every) == 4
    assert names(service, account=OTHER.account) == ["b"]
    assert names(service, operation=LANE.operation, readable=True) == ["a", "c"]
    assert names(service, result="gave_up") == ["c"]
    assert names(service, code="Forbidden.RAM") == ["a"]
    assert names(service, room="r") == names(service, older_than=3600) == []
    assert names(service, younger_than=3600) == every
    assert len(names(service, readable=False)) == 1
    for wrong in ({"result": "x"}, {"older_than": 0}, {"older_than": "nan"}, {"limit": 0}, {"cursor": "%"}, {"x": 1}):
        answer = service.client.get(URL, params=wrong)
        assert (answer.status_code, answer.json()["field"]) == (422, next(iter(wrong)))


@pytest.mark.usefixtures("lanes")
def test_pages_hold_every_letter_once_although_some_go_meanwhile(service: HttpApp) -> None:
    first = service.client.get(URL, params={"limit": 2}).json()
    for letter in first["dead_letters"]:
        assert service.client.post(f"{URL}/{letter['id']}:drop").status_code == 204
    second = service.client.get(URL, params={"limit": 2, "cursor": first["next"]}).json()
    assert second["dead_letters"][0]["id"] == f"{COVERED.name}.c"
    assert (len(second["dead_letters"]), second["next"]) == (2, None)


def test_a_letter_is_shown_with_its_reason_and_command(service: HttpApp, lanes: FailingLanes) -> None:
    shown = service.client.get(f"{URL}/{LANE.name}.a").json()
    assert (shown["result"], shown["code"], shown["reason"]) == ("refused", "Forbidden.RAM", "because")
    assert shown["command"] == COMMAND
    (unreadable,) = [letter for letter in lanes.dead.letters() if letter.outcome is None]
    shown = service.client.get(f"{URL}/{unreadable.id}").json()
    assert (shown["result"], shown["command"], shown["message"]) == (None, None, "not JSON <script>")
    assert service.client.get(f"{URL}/none").json()["type"] == "urn:streamstop:problem:unknown-dead-letter"


def test_one_letter_is_requeued_once_and_says_who_did_it(service: HttpApp, lanes: FailingLanes, client: Client) -> None:
    path = f"{URL}/{LANE.name}.a:requeue"
    answer = service.client.post(path)
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json()['job']}"
    assert service.client.get(answer.headers["Location"]).json()["state"] == "waiting"
    assert service.client.post(path).status_code == 404
    (unreadable,) = [letter for letter in lanes.dead.letters() if letter.outcome is None]
    assert service.client.post(f"{URL}/{unreadable.id}:requeue").status_code == 409
    assert service.client.post(f"{URL}/{unreadable.id}:drop").status_code == 204
    assert [(event.kind, event.by) for event in client.events()] == [
        ("requeued", "everything"),
        ("dropped", "everything"),
    ]


def test_all_that_match_are_acted_on_only_if_it_is_no_dry_run(
    service: HttpApp, lanes: FailingLanes, client: Client
) -> None:
    for act in ("requeue", "drop"):
        counted = service.client.post(f"{URL}:{act}", json={}).json()
        assert counted["dry_run"] is True
        assert counted["letters"] == (3 if act == "requeue" else 4)
        assert counted["results"]["gave_up"] == 1
    assert lanes.dead.count() == 4
    assert list(client.events()) == []
    done = service.client.post(f"{URL}:requeue", json={"account": LANE.account, "dry_run": False}).json()
    assert (done["letters"], done["failed"], done["dry_run"]) == (1, 1, False)
    assert done["codes"] == {"Forbidden.RAM": 1}
    done = service.client.post(f"{URL}:drop", json={"readable": False, "dry_run": False}).json()
    assert done["results"] == {"unreadable": 1}
    assert [(event.kind, event.by) for event in client.events()] == [
        ("requeued", "everything"),
        ("dropped", "everything"),
    ]
    for wrong in ({"dry_run": "false"}, {"dry_run": None}, {"older_than": -1}, {"colour": "red"}):
        answer = service.client.post(f"{URL}:drop", json=wrong)
        assert (answer.status_code, answer.json()["field"]) == (422, next(iter(wrong)))


def test_a_token_sees_and_touches_only_letters_of_its_accounts(service: HttpApp, lanes: FailingLanes) -> None:
    lanes.fail_job("d", COVERED, command=COMMAND)  # its message names an account that the token does not cover
    service.client.headers.update(service.bearer("elsewhere"))
    assert names(service) == ["c"]
    for path in (f"{LANE.name}.a", f"{COVERED.name}.d"):
        assert service.client.get(f"{URL}/{path}").status_code == 403
        for act in ("requeue", "drop"):
            assert service.client.post(f"{URL}/{path}:{act}").status_code == 403
    assert service.client.get(URL, params={"account": LANE.account}).status_code == 403
    assert service.client.post(f"{URL}:drop", json={"account": LANE.account, "dry_run": False}).status_code == 403
    done = service.client.post(f"{URL}:drop", json={"dry_run": False}).json()
    assert (done["letters"], lanes.dead.count()) == (1, 4)


@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize("token", ["reader", "enqueuer"])
def test_acts_need_the_scope_operate(service: HttpApp, lanes: FailingLanes, token: str) -> None:
    service.client.headers.update(service.bearer(token))
    for path in (f"{URL}:drop", f"{URL}:requeue", f"{URL}/{LANE.name}.a:drop", f"{URL}/{LANE.name}.a:requeue"):
        assert service.client.post(path, json={"dry_run": False}).status_code == 403
    assert lanes.dead.count() == 4


@pytest.mark.usefixtures("lanes")
def test_the_page_does_nothing_to_a_letter_unless_it_is_told_what(service: HttpApp) -> None:
    service.sign_in("everything")
    letter = service.client.get(URL).json()["dead_letters"][0]["id"]
    for wrong in ({}, {"act": ""}, {"act": "reqeue"}):
        answer = service.client.post("/dead-letters/one", data={"letter_id": letter, **wrong}, headers=SAME_ORIGIN)
        assert (answer.status_code, answer.json()["field"]) == (422, "act")
    assert len(names(service)) == 4


@pytest.mark.usefixtures("lanes")
def test_an_act_on_many_letters_ends_in_time_and_says_that_there_are_more(
    service: HttpApp, lanes: FailingLanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = service.client.post(f"{URL}:drop", json={}).json()
    assert (whole["letters"], whole["more"]) == (4, False)
    monkeypatch.setattr(dead, "READ", 1)
    monkeypatch.setattr(api, "LONGEST_ACT_S", 0)
    for act in ("requeue", "drop"):
        cut = service.client.post(f"{URL}:{act}", json={"dry_run": True}).json()
        assert (cut["letters"], cut["more"], cut["dry_run"]) == (1, True, True)
    assert lanes.dead.count() == 4
    service.sign_in("everything")
    monkeypatch.setattr(page, "_LONGEST_COUNT_S", 0)
    asked = service.client.get("/dead-letters?act=drop", headers=FOR_PEOPLE).text
    assert "Drop at least 1 dead letter?" in asked
    assert "All that match are meant" in asked
    monkeypatch.undo()
    asked = service.client.get("/dead-letters?act=drop", headers=FOR_PEOPLE).text
    assert "Drop 4 dead letters?" in asked


@pytest.mark.usefixtures("lanes")
def test_an_act_that_is_repeated_until_nothing_is_left_tells_each_letter_once(
    service: HttpApp, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead, "READ", 1)
    monkeypatch.setattr(api, "LONGEST_ACT_S", 0)
    answers = [service.client.post(f"{URL}:drop", json={"dry_run": False}).json() for _ in range(4)]
    assert [(answer["letters"], answer["more"]) for answer in answers] == [(1, True), (1, True), (1, True), (1, False)]
    assert [event.text for event in client.events()] == ["1 dead letter is dropped"] * 4
    assert client.dead_letters.count() == 0
