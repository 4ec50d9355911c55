"""``streamstop dead requeue`` and ``drop``: what they change, what they ask, and how they exit."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import click
import pytest

from streamstop._redis.dead import DeadLetterStore
from streamstop.client import Client
from streamstop.jobs import Job
from streamstop.outcomes import Outcome, Result
from tests.support.dead_cli import NO_LETTER, objects, run_dead
from tests.support.dead_letters import LANE, OTHER, FailingLanes

# requeue and drop


def waiting(failing_lanes: FailingLanes) -> list[str]:
    return sorted({message["headers"]["id"] for lane in (LANE, OTHER) for message in failing_lanes.waiting(lane)})


def test_ids_are_requeued_without_a_question_and_the_new_jobs_are_printed(four_letters: FailingLanes) -> None:
    result = run_dead(f"requeue {LANE.name}.a {OTHER.name}.b {LANE.name}.a")
    assert result.exit_code == 0
    assert sorted(result.stdout.splitlines()) == waiting(four_letters)
    assert result.stderr == "2 dead letters requeued; look at a job with `streamstop job ID`\n"
    assert four_letters.ids() == ["c", "unreadable-1"]


def test_ids_can_stand_on_standard_input(four_letters: FailingLanes) -> None:
    listed = objects(run_dead("list --json --limit 2").stdout)
    ids = "\n".join(one["id"] for one in listed) + "\n\n"
    assert run_dead("requeue -", ids).exit_code == 0
    assert four_letters.ids() == ["c", "unreadable-1"]
    assert run_dead("drop -", f" {LANE.name}.c \r\n").stdout == f"dropped  {LANE.name}.c\n"
    assert run_dead("requeue -", "").stderr == "0 dead letters requeued\n"


def test_letters_that_are_gone_or_not_requeueable_are_reported_and_the_rest_goes_on(four_letters: FailingLanes) -> None:
    result = run_dead(f"requeue {NO_LETTER} unreadable-1 {LANE.name}.a")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr.splitlines() == [
        f"not requeued: there is no dead letter {NO_LETTER}: it may have been requeued or dropped",
        "not requeued: dead letter unreadable-1 has no command: it is no message that a worker can read",
        "1 dead letter requeued, 2 not; look at a job with `streamstop job ID`",
    ]
    dropped = run_dead(f"drop {NO_LETTER} unreadable-1")
    assert (dropped.exit_code, dropped.stdout) == (1, "dropped  unreadable-1\n")
    assert four_letters.ids() == ["b", "c"]


def test_json_reports_the_result_for_every_letter(four_letters: FailingLanes) -> None:
    gone, requeued = objects(run_dead(f"requeue --json {NO_LETTER} {LANE.name}.a").stdout)
    names = {"letter", "job_id", "account", "operation", "problem", "outcome"}
    assert set(gone) == set(requeued) == names
    assert (gone["letter"], gone["job_id"]) == (NO_LETTER, None)
    assert "no dead letter" in gone["problem"]
    assert (requeued["letter"], requeued["problem"], requeued["account"]) == (f"{LANE.name}.a", None, "live-cn")
    assert [requeued["job_id"]] == waiting(four_letters)
    assert objects(run_dead(f"drop --json {LANE.name}.c").stdout) == [
        {"letter": f"{LANE.name}.c", "dropped": True, "problem": None}
    ]


@pytest.mark.parametrize("command", ["requeue", "drop"])
def test_without_a_terminal_many_are_not_touched_unless_yes_is_said(four_letters: FailingLanes, command: str) -> None:
    result = run_dead(f"{command} --account live-cn")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: 3 dead letters match, and there is no terminal to confirm on: pass --yes to {command} them\n"
    )
    assert four_letters.dead.count() == 4
    assert run_dead(f"{command} --account trtc-sg --yes").exit_code == 0
    assert four_letters.dead.count() == 3


@pytest.mark.parametrize("command", ["requeue", "drop"])
def test_on_a_terminal_the_command_asks_with_the_number_and_does_nothing_without_consent(
    four_letters: FailingLanes, command: str
) -> None:
    result = run_dead(f"{command} --account live-cn", "n\n", on_terminal=True)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[:2] == ["3 dead letters match:", "     1  refused     Forbidden.RAM  live-cn"]
    assert f"{command.capitalize()} them? [y/N]" in result.stderr
    assert run_dead(f"{command} --account live-cn", "", on_terminal=True).exit_code == 130
    assert four_letters.dead.count() == 4
    assert run_dead(f"{command} --older-than 3m --result not_found", "y\n", on_terminal=True).exit_code == 0
    assert four_letters.dead.count() == 3


def test_letters_that_arrive_after_the_question_are_not_requeued(
    four_letters: FailingLanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def agree(*_: object, **__: object) -> bool:
        four_letters.fail_job("later")
        return True

    monkeypatch.setattr(click, "confirm", agree)
    run_dead("requeue --account live-cn", on_terminal=True)
    assert four_letters.ids() == ["b", "unreadable-1", "later"]


def test_all_requeues_or_drops_every_letter(four_letters: FailingLanes) -> None:
    assert run_dead("requeue --all --yes").exit_code == 1, "one of them cannot be"
    assert four_letters.ids() == ["unreadable-1"]
    assert run_dead("drop --all --yes").exit_code == 0
    assert four_letters.dead.count() == 0


@pytest.mark.parametrize("command", ["requeue", "drop"])
def test_a_dry_run_changes_nothing(four_letters: FailingLanes, command: str) -> None:
    before = {key: four_letters.redis.type(key) for key in four_letters.redis.scan_iter("*")}
    result = run_dead(f"{command} --dry-run --result not_found")
    assert result.exit_code == 0
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["ID", f"{OTHER.name}.b"]
    past = "requeued" if command == "requeue" else "dropped"
    assert result.stderr == f"1 dead letter would be {past}; nothing was changed\n"
    some = run_dead(f"{command} --dry-run --json {NO_LETTER} {LANE.name}.a unreadable-1")
    assert some.exit_code == 1
    could = [f"{LANE.name}.a", "unreadable-1"][: 1 if command == "requeue" else 2]
    assert [one["id"] for one in objects(some.stdout)] == could
    assert before == {key: four_letters.redis.type(key) for key in four_letters.redis.scan_iter("*")}


def test_requeues_made_before_redis_was_lost_are_reported(
    four_letters: FailingLanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = DeadLetterStore.requeue

    def fail(self: DeadLetterStore, letter_id: str) -> str:
        if letter_id.endswith(".b"):
            raise ConnectionError
        return really(self, letter_id)

    monkeypatch.setattr(DeadLetterStore, "requeue", fail)
    four_letters.fail_job("d")
    for first, wait in (("a", ""), ("d", "--wait 5")):
        result = run_dead(f"requeue {LANE.name}.{first} {OTHER.name}.b {LANE.name}.c {wait}")
        assert result.exit_code == 4
        assert len([line for line in result.stdout.splitlines() if LANE.name in line]) == 1
        assert result.stderr == (
            "Error: Redis did not answer (ConnectionError): it may or may not be requeued; requeue it again, it cannot "
            "double; 1 dead letter requeued\n"
        )


def test_ctrl_c_reports_how_many_letters_were_done(four_letters: FailingLanes, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_self: DeadLetterStore, letter_id: str) -> None:
        if letter_id.endswith(".b"):
            raise KeyboardInterrupt

    monkeypatch.setattr(DeadLetterStore, "drop", interrupt)
    result = run_dead("drop --all --yes")
    assert result.exit_code == 130
    assert result.stderr == "Error: interrupted: 1 dead letter dropped\n"


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Callable[[Result], None]:
    """Return what lets every job of one lane end so; no other job ends."""

    def end(result: Result) -> None:
        def outcomes(_client: Client, jobs: list[Job], timeout: timedelta) -> Iterator[Outcome]:
            assert timeout == timedelta(seconds=5)
            for job in jobs:
                if job.id.startswith(LANE.name):
                    params = {"AppId": "a", "TaskId": "t"}
                    yield Outcome(result=result, job_id=job.id, account="a", operation="o", params=params, code="Code")

        monkeypatch.setattr(Client, "outcomes", outcomes)

    return end


@pytest.mark.parametrize(
    ("names", "result", "expected"),
    [
        ("a c", Result.STOPPED, (0, "2 jobs: 2 stopped")),
        ("a c", Result.REFUSED, (1, "2 jobs: 2 refused")),
        ("a b", Result.STOPPED, (3, "2 jobs: 1 stopped, 1 open")),
        ("a nobody", Result.STOPPED, (1, "1 job: 1 stopped")),
    ],
)
def test_with_wait_it_tells_how_the_new_jobs_ended(
    four_letters: FailingLanes, ended: Callable[[Result], None], names: str, result: Result, expected: tuple[int, str]
) -> None:
    ended(result)
    ids = " ".join(f"{OTHER.name if name == 'b' else LANE.name}.{name}" for name in names.split())
    done = run_dead(f"requeue {ids} --wait 5")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == expected
    row = next(line for line in done.stdout.splitlines() if LANE.name in line)
    assert row.split()[0] == result.value
    assert row.split()[2:4] == ["AppId=a", "TaskId=t"]
    assert row.endswith("Code") is not result.ok


def test_with_wait_and_json_every_letter_has_its_outcome(
    four_letters: FailingLanes, ended: Callable[[Result], None]
) -> None:
    ended(Result.STOPPED)
    result = run_dead(f"requeue {LANE.name}.a {NO_LETTER} --wait 5 --json")
    assert result.exit_code == 1
    stopped, gone = objects(result.stdout)
    assert (stopped["letter"], stopped["outcome"]["result"]) == (f"{LANE.name}.a", "stopped")
    assert (gone["job_id"], gone["outcome"]) == (None, None)
