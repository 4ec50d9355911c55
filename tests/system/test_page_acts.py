"""Acts on the page: rooms, shutdowns, jobs, dead letters; with JavaScript, without, and with a reader's token."""

import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect

from streamstop import Command, DeadLetter, Job, Matching, Outcome, Result, ShutdownStatus, Where
from streamstop.operations import StopMPUTask, StopStreamIngest
from tests.support.browser import browser, visit
from tests.support.page_world import SLOW, PageWorld, page_world
from tests.support.polling import eventually
from tests.support.world import ALIYUN, TENCENT

pytestmark = pytest.mark.browser

_NOTE_THE_END_OF_STREAMS = """
{
    const close = EventSource.prototype.close;
    EventSource.prototype.close = function () { close.call(this); document.documentElement.dataset.stream = "closed"; };
}"""

WITH_AND_WITHOUT_SCRIPTS = pytest.mark.parametrize(
    "scripts", [pytest.param(True, id="scripts"), pytest.param(False, id="no_scripts", marks=pytest.mark.long)]
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageWorld]:
    with page_world(tmp_path_factory.mktemp("page")) as world:
        yield world


@pytest.fixture(scope="module")
def running() -> Iterator[Browser]:
    with browser() as started:
        yield started


def slow_job(made: PageWorld) -> Job:
    """Enqueue a job that waits for minutes."""
    stop = StopMPUTask(app_id="app", task_id=f"slow-{uuid4().hex}")
    return made.world.client.enqueue(stop, account=ALIYUN, priority=9)


def letters(made: PageWorld, name: str, count: int) -> list[str]:
    """Make dead letters: stops of tasks that nobody started. Return their ids."""
    commands = [
        Command(operation=StopStreamIngest(sdk_app_id=1, task_id=f"{name}-{n}"), account=TENCENT) for n in range(count)
    ]
    jobs = made.world.client.enqueue_many(commands)
    outcomes = list(made.world.client.outcomes(jobs, timeout=60))
    assert {outcome.result for outcome in outcomes} == {Result.NOT_FOUND}
    return [job.id for job in jobs]


def dead_ids(made: PageWorld) -> set[str]:
    return {letter.id for letter in made.world.client.dead_letters.letters(Matching())}


def by_token(made: PageWorld, kind: str) -> list[str]:
    """Return the texts of the events of a kind that the token caused."""
    return [event.text for event in made.world.client.events() if event.kind == kind and event.by == "everything"]


def text(page: Page) -> str:
    return page.inner_text("main")


def expect_text(page: Page, expected: str) -> None:
    """Wait for a text: a click returns before the next screen is there."""
    expect(page.locator("main")).to_contain_text(expected)


@WITH_AND_WITHOUT_SCRIPTS
def test_a_room_is_looked_up_stopped_after_a_question_and_its_shutdown_cancelled(
    made: PageWorld, running: Browser, scripts: bool
) -> None:
    room = f"close/me {scripts} <i>"
    stops = [StopMPUTask(app_id="app", task_id=f"{room}-{n}") for n in range(40)]
    made.world.client.register_many(room, [Command(operation=stop, account=ALIYUN) for stop in stops])
    with visit(running, made.service, scripts=scripts) as visiting:
        page = visiting.page
        visiting.go("/rooms")
        page.fill("input[name=room]", room)
        page.click("text=Look")
        expect(page.locator("h1")).to_have_text(f"Room {room}")
        expect_text(page, "40 stream tasks")
        page.click("text=Stop this room…")
        expect_text(page, "40 registered stream tasks are stopped")
        assert made.world.client.room(room).shutdown is None, "nothing is stopped before the question is answered"
        page.check("input[name=verify]")
        page.click("text=Stop 40 tasks")
        expect(page.locator("h1")).to_have_text(f"Shutdown of {room}")
        shutdown = made.world.client.room(room).shutdown
        assert shutdown is not None
        assert page.url.endswith(f"/shutdowns/{shutdown}")
        eventually(lambda: made.world.client.shutdown(shutdown).progress().lanes, "the jobs are in their lane")
        page.reload()
        page.click("text=Cancel this shutdown…")
        expect_text(page, " of 40 have not ended")
        assert made.world.client.shutdown(shutdown).progress().status is ShutdownStatus.OPEN, "nothing is cancelled yet"
        page.click("text=Cancel what is not called yet")
        eventually(
            lambda: made.world.client.shutdown(shutdown).progress().status is ShutdownStatus.CANCELLED,
            "it is cancelled",
        )
        page.reload()
        expect(page.locator(".state.cancelled")).to_have_text("cancelled")
        assert visiting.complaints == []
    assert f"shutdown {shutdown} is cancelled" in by_token(made, "cancelled")
    assert any(shutdown in event for event in by_token(made, "room_stopped"))


@WITH_AND_WITHOUT_SCRIPTS
def test_a_job_is_found_and_cancelled(made: PageWorld, running: Browser, scripts: bool) -> None:
    job = slow_job(made)
    with visit(running, made.service, scripts=scripts) as visiting:
        page = visiting.page
        visiting.go("/jobs")
        page.fill("input[name=job_id]", job.id)
        page.click("text=Look")
        expect(page.locator("#job")).to_contain_text("waits at place")
        page.click("text=Cancel this job")
        expect(page.locator(".timeline")).to_contain_text("cancelled by everything")
        assert visiting.complaints == []
    outcome = job.peek()
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.message) == (Result.CANCELLED, "cancelled by everything")


@WITH_AND_WITHOUT_SCRIPTS
def test_one_dead_letter_is_requeued_and_another_dropped(made: PageWorld, running: Browser, scripts: bool) -> None:
    first, second, third = letters(made, f"one-{scripts}", 3)
    with visit(running, made.service, scripts=scripts) as visiting:
        page = visiting.page
        visiting.go(f"/dead-letters/{first}")
        page.click("text=Requeue")
        page.wait_for_url("**/jobs/**")
        requeued = page.url.rpartition("/")[2]
        visiting.go(f"/dead-letters/{second}")
        page.click("summary")
        page.click("text=Drop this letter")
        page.wait_for_url("**/dead-letters")
        visiting.go(f"/dead-letters/{second}", status=404)
        assert "404" in text(page)
        visiting.go(f"/jobs/{third}")
        page.click("text=Requeue")
        page.wait_for_url(lambda url: not url.endswith(third))
        again = page.url.rpartition("/")[2]
    assert len({first, requeued, third, again}) == 4
    for job_id in (requeued, again):
        assert made.world.client.job(job_id).outcome(60).result is Result.NOT_FOUND
    assert dead_ids(made).isdisjoint({first, second, third})
    for job_id in (requeued, again):
        made.world.client.dead_letters.drop(job_id)


@WITH_AND_WITHOUT_SCRIPTS
def test_all_letters_that_match_are_counted_first_and_then_dropped(
    made: PageWorld, running: Browser, scripts: bool
) -> None:
    before = dead_ids(made)
    gone = letters(made, f"all-{scripts}", 60)
    with visit(running, made.service, scripts=scripts) as visiting:
        page = visiting.page
        visiting.go("/dead-letters")
        page.fill("input[name=account]", TENCENT)
        page.select_option("select[name=result]", "not_found")
        page.click("text=Filter")
        expect(page.locator("tbody tr")).to_have_count(50)
        page.click("text=Next page")
        expect(page.locator("text=First page")).to_be_visible()
        expect(page.locator("tbody tr").nth(9)).to_be_visible()
        page.go_back()
        page.click("text=Drop all that match…")
        expected = sum(letter.account == TENCENT for letter in letters_of(made, Result.NOT_FOUND))
        expect(page.locator("h1")).to_have_text(f"Drop {expected} dead letters?")
        assert dead_ids(made) >= set(gone), "nothing is dropped before the question is answered"
        late = letters(made, f"late-{scripts}", 1)
        page.click(f"text=Drop {expected} letters")
        expect(page.locator("h1")).to_have_text(f"{expected} dead letters are dropped")
        assert visiting.complaints == []
    left = dead_ids(made)
    assert left.isdisjoint(gone)
    assert left >= set(late), "a letter that came after the question stays"
    assert any("dead letters are dropped" in event for event in by_token(made, "dropped"))
    assert made.refused in left & before


def letters_of(made: PageWorld, result: Result) -> list[DeadLetter]:
    return list(made.world.client.dead_letters.letters(Matching(result=result)))


def test_all_letters_that_match_are_requeued(made: PageWorld, running: Browser) -> None:
    letters(made, "again", 3)
    count = len(letters_of(made, Result.NOT_FOUND))
    with visit(running, made.service) as visiting:
        visiting.go("/dead-letters?result=not_found&act=requeue")
        visiting.page.click(f"text=Requeue {count} letters")
        expect(visiting.page.locator("h1")).to_have_text(f"{count} dead letters are requeued")
    eventually(lambda: len(letters_of(made, Result.NOT_FOUND)) == count, "each is a dead letter again")
    assert any(event.startswith(f"{count} dead letters are requeued") for event in by_token(made, "requeued"))


@pytest.mark.long
def test_changes_show_by_themselves(made: PageWorld, running: Browser) -> None:
    job = slow_job(made)
    with visit(running, made.service) as visiting:
        page = visiting.page
        for path in (f"/shutdowns/{made.running.id}", "/rooms"):
            visiting.go(path)
            seen = page.locator(".bar-text").first.inner_text()
            expect(page.locator(".bar-text").first).not_to_have_text(seen)
        visiting.go(f"/jobs/{job.id}")
        expect(page.locator("#job")).to_contain_text("waits at place")
        job.cancel()
        expect(page.locator(".timeline .result")).to_have_text("cancelled")
        assert visiting.complaints == []


@pytest.mark.long
def test_a_shutdown_that_ends_is_asked_for_no_more(made: PageWorld, running: Browser) -> None:
    stops = [StopStreamIngest(sdk_app_id=1, task_id=f"short-{n}") for n in range(300)]
    made.world.simulator.start_tasks(TENCENT, stops)
    made.world.client.pause(TENCENT)
    shutdown = made.world.client.stop_room("short", [Command(operation=stop, account=TENCENT) for stop in stops])
    with visit(running, made.service) as visiting:
        page = visiting.page
        page.add_init_script(_NOTE_THE_END_OF_STREAMS)
        visiting.go(f"/shutdowns/{shutdown.id}")
        expect(page.locator(".state").first).to_have_text("open")
        made.world.client.resume(TENCENT)
        expect(page.locator(".state").first).to_have_text("done")
        expect(page.locator("html")).to_have_attribute("data-stream", "closed")
        with page.expect_request(lambda one: one.url.endswith("/workers") or "/live/" in one.url) as asked:
            page.evaluate("setTimeout(() => fetch('/workers'), 6000)")
        assert asked.value.url.endswith("/workers"), "a browser whose stream is not closed connects again within 3 s"
        assert visiting.complaints == []


def test_a_reader_sees_buttons_that_do_nothing_and_is_refused(made: PageWorld, running: Browser) -> None:
    job = slow_job(made)
    with visit(running, made.service, "reader") as visiting:
        page = visiting.page
        for path in (
            "/rooms/concert?act=stop",
            f"/shutdowns/{made.running.id}?act=cancel",
            f"/jobs/{job.id}",
            f"/dead-letters/{made.refused}",
            "/dead-letters?act=drop",
        ):
            visiting.go(path)
            buttons = page.locator("main form[method=post] button")
            assert buttons.count() > 0, path
            assert all(buttons.nth(number).is_disabled() for number in range(buttons.count())), path
            assert "You can look, and not act" in text(page), path
        for path, form in {
            "/rooms": "room=concert",
            f"/shutdowns/{made.running.id}/cancel": "",
            "/jobs": f"job_id={job.id}",
            "/dead-letters/one": f"letter_id={made.refused}&act=drop",
            "/dead-letters": "act=drop&asked_at=99999999999",
            "/pauses": "scope=all",
        }.items():
            answer = page.evaluate(
                "async ([path, body]) => (await fetch(path, {method: 'POST', body, redirect: 'manual',"
                " headers: {'Content-Type': 'application/x-www-form-urlencoded'}})).status",
                [path, form],
            )
            assert answer == 403, path
    view = job.look()
    assert view is not None
    assert view.where is Where.WAITING
    assert made.refused in dead_ids(made)
    assert made.running.progress().status is ShutdownStatus.OPEN
    assert all(pause.scope != "all" for pause in made.world.client.pauses())


def test_a_token_of_other_accounts_sees_none_of_it(made: PageWorld, running: Browser) -> None:
    with visit(running, made.service, "elsewhere") as visiting:
        for path, status in {
            "/rooms": 200,
            "/rooms/concert": 200,
            f"/shutdowns/{made.running.id}": 403,
            f"/jobs/{made.waiting}": 403,
            f"/jobs?task=relay-599&account={ALIYUN}": 403,
            "/jobs?task=relay-599": 200,
            "/dead-letters": 200,
            f"/dead-letters/{made.refused}": 403,
        }.items():
            visiting.go(path, status=status)
            shown = text(visiting.page)
            assert not re.search(rf"relay-\d+\b.*{SLOW}|Refused:|of 600", shown), (path, shown)
