"""The screens of lanes, workers and events, and what a person does on them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamstop import Command
from streamstop.operations import OPERATIONS, StopMPUTask, StopStreamIngest
from streamstop.testing import RecordingAsyncClient, RecordingClient
from streamstop_server.page import lane_feed, lanes
from tests.support.http_app import FOR_PEOPLE, SAME_ORIGIN, HttpApp, http_app

LANE = "/lanes/live-cn/live.StopMPUTask"
STOP = Command(operation=StopMPUTask(app_id="a", task_id="<script>t</script>"), account="live-cn")
INGEST = Command(operation=StopStreamIngest(sdk_app_id=1, task_id="t"), account="another-account")
FRAGMENT = {"HX-Request": "true"}


@pytest.fixture
def queue() -> RecordingClient:
    return RecordingClient(accounts={"live-cn": "aliyun", "another-account": "tencent"}, leave_open=True)


@pytest.fixture
def service(queue: RecordingClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpApp]:
    monkeypatch.setattr(lane_feed, "EVERY_S", 0.0)  # each screen reads what it shows
    monkeypatch.setattr(lane_feed, "PATIENCE_S", 60.0)  # and waits for it, however long it takes
    monkeypatch.setattr(lane_feed, "STEP_S", 3600)  # and no other read, which may have begun before, serves it
    with http_app(RecordingAsyncClient(queue), tmp_path) as running:
        running.sign_in("everything")
        yield running


def get(service: HttpApp, path: str, headers: Mapping[str, str] = FOR_PEOPLE) -> str:
    answer = service.client.get(path, headers=headers)
    assert answer.status_code == httpx.codes.OK, answer.text
    return answer.text


def post(service: HttpApp, path: str, **fields: str) -> Any:
    return service.client.post(path, data=fields, headers={**SAME_ORIGIN, **FOR_PEOPLE})


def act(service: HttpApp, path: str, **fields: str) -> str:
    """Act, and return where the person is led."""
    answer = post(service, path, **fields)
    assert answer.status_code == httpx.codes.SEE_OTHER, answer.text
    return str(answer.headers["location"])


def test_empty_screens_say_what_appears_on_them(service: HttpApp) -> None:
    assert "No lane holds a job" in get(service, "/")
    assert "Nothing has happened yet" in get(service, "/events")
    service.client.cookies.clear()
    assert service.client.get("/", headers=FOR_PEOPLE).headers["location"] == "/sign-in?next=/"


def test_the_navigation_shows_where_a_screen_belongs(service: HttpApp, queue: RecordingClient) -> None:
    queue.enqueue_many([STOP])
    for path, entry in {"/": "Lanes", LANE: "Lanes", "/drain?account=live-cn": "Lanes", "/rooms/a": "Rooms"}.items():
        assert re.findall(r'aria-current="page">([^<]+)<', get(service, path)) == [entry], path


def test_who_is_no_longer_signed_in_leaves_the_whole_screen(service: HttpApp) -> None:
    service.client.cookies.clear()
    answer = service.client.get("/?q=x", headers=FRAGMENT)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/sign-in?next=/%3Fq%3Dx")
    assert answer.text == ""


def test_lanes_are_filtered_by_words_and_state_and_summed_up(service: HttpApp, queue: RecordingClient) -> None:
    queue.enqueue_many([STOP, STOP, INGEST])
    page = get(service, "/")
    assert page.index("another-account") < page.index('href="/lanes/live-cn')
    assert "2 lanes" in page
    filtered = get(service, "/?q=LIVE-cn+mpu&state=running")
    assert 'href="/lanes/another-account' not in filtered
    assert "1 lane<" in filtered
    assert "None of the 2 lanes fits" in get(service, "/?state=held")
    assert "&lt;b&gt;" in get(service, "/?q=<b>")
    assert service.client.get("/?state=nonsense", headers=FOR_PEOPLE).status_code == 422


def test_a_pause_and_its_end_are_on_the_screen_and_carry_the_name_of_the_token(
    service: HttpApp, queue: RecordingClient
) -> None:
    queue.enqueue_many([STOP])
    assert act(service, "/pauses", scope="live-cn", reason="<b>why</b>", **{"for": "600"}) == "/"
    page = get(service, "/")
    assert "paused" in page
    assert "by everything" in page
    assert "&lt;b&gt;why&lt;/b&gt;" in page
    assert "<b>why" not in page
    [pause] = queue.pauses()
    assert (pause.by, pause.until is not None) == ("everything", True)
    assert act(service, "/pauses/end", scope="live-cn", back=LANE) == LANE
    assert act(service, "/pauses/end", scope="live-cn") == "/", "somebody else has ended it"
    assert queue.pauses() == []
    assert "by everything" not in get(service, "/")


def test_of_many_limits_the_first_are_listed(service: HttpApp, queue: RecordingClient) -> None:
    for operation in [each for each in OPERATIONS.values() if each.spec.product.vendor.name == "aliyun"]:
        queue.set_limit("live-cn", operation.spec.id, 1)
    for account in ("live-cn", "another-account", "all", "vendor:aliyun", "vendor:tencent"):
        queue.pause(account)
    page = get(service, "/")
    assert page.count('action="/limits/end"') == len(queue.limits())
    assert "are not listed here" not in page
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "_MOST_LISTED", 2)
        page = get(service, "/")
    assert page.count('action="/limits/end"') == page.count('action="/pauses/end"') == 2
    assert f"{len(queue.limits()) - 2 + 3} more holds, pauses and limits are not listed here" in page


def test_a_limit_and_its_end_are_on_the_screen(service: HttpApp, queue: RecordingClient) -> None:
    fields = {"account": "live-cn", "operation": "live.StopMPUTask", "back": LANE}
    assert act(service, "/limits", limit="2.5", reason="shared", **fields) == LANE
    page = get(service, "/")
    assert "limit 2.5/s" in page
    assert "shared" in page
    above = {"limit": "1000", **fields}
    refused = post(service, "/limits", **above)
    assert refused.status_code == 422
    assert "is 10 calls per second. Set a lower one, or tick the box that allows more." in refused.text
    assert "Nothing was changed." in refused.text
    assert act(service, "/limits", above_vendor="on", **above) == LANE
    assert [limit.limit for limit in queue.limits()] == [1000]
    assert act(service, "/limits/end", **fields) == LANE
    assert queue.limits() == []


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/pauses", {"scope": ""}),
        ("/pauses", {"scope": "live-cn", "for": "soon"}),
        ("/pauses", {"scope": "live-cn", "for": "-1"}),
        ("/limits", {"account": "live-cn", "operation": "live.StopMPUTask", "limit": "many"}),
        ("/limits", {"account": "live-cn", "operation": "live.StopMPUTask", "limit": "nan"}),
        ("/drain", {"account": "live-cn", "older_than": "x"}),
        (f"{LANE}/cancel", {"job_id": "another-account.trtc.StopStreamIngest.1"}),
        (f"{LANE}/cancel", {}),
    ],
)
def test_what_a_person_mistypes_is_explained(
    path: str, fields: Mapping[str, str], service: HttpApp, queue: RecordingClient
) -> None:
    answer = post(service, path, **fields)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert (queue.pauses(), queue.limits()) == ([], [])


def test_acts_lead_nowhere_else(service: HttpApp) -> None:
    for elsewhere in ("https://evil.example/", "//evil.example", "/\\evil.example"):
        assert act(service, "/pauses", scope="all", back=elsewhere) == "/"


def test_a_lane_shows_what_waits_and_cancels_one(service: HttpApp, queue: RecordingClient) -> None:
    jobs = queue.enqueue_many([STOP] * 60)
    page = get(service, LANE)
    assert page.count("<script>t") == 0
    assert page.count("&lt;script&gt;t") == 50
    assert "Page 1 of 2" in page
    second = get(service, f"{LANE}?waiting=2")
    assert second.count("&lt;script&gt;t") == 10
    assert jobs[50].id.rpartition(".")[2] in second
    assert act(service, f"{LANE}/cancel", job_id=jobs[0].id) == LANE
    assert jobs[0].outcome().result == "cancelled"
    page = get(service, LANE)
    assert f'value="{jobs[0].id}"' not in page
    assert [event.by for event in queue.events() if event.by] == ["everything"]


def test_a_drain_counts_asks_and_cancels(service: HttpApp, queue: RecordingClient) -> None:
    jobs = queue.enqueue_many([STOP, STOP])
    page = get(service, "/drain?account=live-cn&operation=live.StopMPUTask&older_than=&room=")
    assert "2 jobs would be cancelled" in page
    assert "Cancel all 2 that fit" in page
    assert jobs[0].peek() is None
    answer = post(service, "/drain", account="live-cn", operation="live.StopMPUTask", older_than="", room="")
    assert "2 jobs are cancelled" in answer.text
    assert {job.outcome().message for job in jobs} == {"drained by everything"}


def test_a_lane_that_is_none_is_not_found(service: HttpApp) -> None:
    for path in (
        "/lanes/live-cn/live.Nothing",
        "/lanes/%3Cb%3E/live.StopMPUTask",
        "/lanes/live-cn/trtc.StopStreamIngest",
    ):
        assert service.client.get(path, headers=FOR_PEOPLE).status_code == 404


def test_the_live_parts_are_what_the_screen_has(service: HttpApp, queue: RecordingClient) -> None:
    queue.enqueue_many([STOP])
    for path, ids in (
        ("/", ("held", "lanes", "pages")),
        (LANE, ("now", "chart", "steps", "waiting", "in_flight", "deferred", "errors", "events")),
        ("/events", ("events",)),
    ):
        screen, parts = get(service, path), get(service, path, FRAGMENT)
        assert "<html" not in parts
        for each in ids:
            assert f'id="{each}"' in screen
            assert f'<div id="{each}" hx-swap-oob="innerHTML">' in parts
    assert "<html" not in get(service, "/workers", FRAGMENT)


def test_events_are_listed_newest_first_and_filtered(service: HttpApp, queue: RecordingClient) -> None:
    queue.enqueue_many([STOP, INGEST])
    queue.drain("live-cn", by="ann@ops")
    queue.drain("another-account", by="bob@ops")
    page = get(service, "/events")
    assert page.index("bob@ops") < page.index("ann@ops")
    assert "ann@ops" not in get(service, "/events?account=another-account")
    assert "No event fits" in get(service, "/events?kind=held")
    service.sign_in("elsewhere")
    page = get(service, "/events")
    assert "bob@ops" in page
    assert "ann@ops" not in page


def test_a_reader_sees_no_acts_and_may_not_act(service: HttpApp, queue: RecordingClient) -> None:
    queue.enqueue_many([STOP])
    queue.pause("live-cn")
    service.sign_in("reader")
    for path in ("/", LANE, "/drain?account=live-cn"):
        page = get(service, path)
        assert page.count('method="post"') == 1, "to sign out"
    for path in ("/pauses", "/pauses/end", "/limits", "/limits/end", "/drain", f"{LANE}/cancel"):
        assert post(service, path, scope="live-cn", account="live-cn").status_code == 403
    assert [pause.scope for pause in queue.pauses()] == ["live-cn"]


def test_a_token_for_certain_accounts_sees_and_touches_those_alone(service: HttpApp, queue: RecordingClient) -> None:
    queue.enqueue_many([STOP, INGEST])
    queue.pause("live-cn.live.StopMPUTask")
    queue.set_limit("live-cn", "live.StopMPUTask", 1)
    service.sign_in("elsewhere")
    for path in ("/", "/workers"):
        page = get(service, path)
        assert "another-account" in page
        assert "live-cn" not in page
    assert "vendor:" not in get(service, "/")
    assert service.client.get(LANE, headers=FOR_PEOPLE).status_code == 403
    assert service.client.get("/drain?account=live-cn", headers=FOR_PEOPLE).status_code == 403
    for path, fields in (
        ("/pauses", {"scope": "live-cn"}),
        ("/pauses", {"scope": "all"}),
        ("/pauses/end", {"scope": "vendor:aliyun"}),
        ("/limits", {"account": "live-cn", "operation": "live.StopMPUTask", "limit": "1"}),
        ("/limits/end", {"account": "live-cn", "operation": "live.StopMPUTask"}),
        ("/drain", {"account": "live-cn"}),
        (f"{LANE}/cancel", {"job_id": "live-cn.live.StopMPUTask.1"}),
    ):
        assert post(service, path, **fields).status_code == 403, path


def test_workers_are_listed(service: HttpApp) -> None:
    page = get(service, "/workers")
    assert "running" in page
    assert "live-cn" in page


def test_where_an_act_leads_is_percent_encoded_for_scripts_too(service: HttpApp) -> None:
    fields = {"scope": "live-cn", "back": "/?q=näme🎬"}
    answer = service.client.post("/pauses", data=fields, headers={**SAME_ORIGIN, **FRAGMENT})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, act(service, "/pauses", **fields))
    assert answer.headers["hx-redirect"] == "/?q=n%C3%A4me%F0%9F%8E%AC"
