"""``streamstop dead`` on a Redis in memory: what it lists, requeues and drops, what it asks, and how it exits."""

import json
import shlex
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from streamstop._redis.connections import Connections
from streamstop._redis.dead import DeadLetterStore
from streamstop.cli import main
from streamstop.cli.dead_filters import Duration
from streamstop.client import Client
from streamstop.jobs import Job
from streamstop.operations import OPERATIONS
from streamstop.outcomes import Outcome, Result
from tests.support.moved_clock import MovedClock, fake_redis
from tests.unit.test_dead_letters import COMMAND, LANE, OTHER, Cemetery

NOWHERE = "redis://:hush@127.0.0.1:1/0"
OF_OTHER = {**COMMAND, "operation": OTHER.operation, "account": OTHER.account, "params": {"SdkAppId": 1, "TaskId": "u"}}
NO_LETTER = f"{LANE.name}.nobody"


@pytest.fixture
def cemetery(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cemetery]:
    """Return a cemetery, to which every client's connections lead."""
    clock = MovedClock()
    with fake_redis(clock) as redis:
        made = Cemetery(redis, clock)
        monkeypatch.setattr(Connections, "dead", property(lambda _self: made.dead))
        yield made


@pytest.fixture
def letters(cemetery: Cemetery) -> Cemetery:
    """Return a cemetery of three, died a minute after each other, and of one that nobody could read."""
    cemetery.die("a", code="Forbidden.RAM")
    cemetery.die("b", OTHER, result=Result.NOT_FOUND, command=OF_OTHER)
    cemetery.die("c", result=Result.EXPIRED, command={**COMMAND, "expires_at": 1.0})
    cemetery.redis.lpush(LANE.queue, b"not JSON \x1b[2J")
    cemetery.take()
    cemetery.clock.advance(timedelta(minutes=1))
    return cemetery


def run(command: str, stdin: str | bytes | None = None, *, on_terminal: bool = False) -> Any:
    with pytest.MonkeyPatch.context() as patched:
        if on_terminal:
            patched.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _self: True)
        result = CliRunner().invoke(main, ["dead", *shlex.split(command)], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "hush" not in result.output
    return result


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# list


def test_the_list_has_a_header_a_line_a_letter_and_counts_them_at_its_end(letters: Cemetery) -> None:
    result = run("list")
    assert result.exit_code == 0
    a, b, raw = "AppId=a TaskId=t   ", "SdkAppId=1 TaskId=u", "not JSON \\x1b[2J   "
    raw_id = "unreadable-1"
    header, *lines = result.stdout.splitlines()
    assert header.split("  ")[0] == "DIED AT"
    assert header.split() == ["DIED", "AT", "RESULT", "CODE", "ACCOUNT", "OPERATION", "PARAMETERS", "ID"]
    for name, cell in (("CODE", "Forbidden.RAM"), ("PARAMETERS", "AppId=a"), ("ID", f"{LANE.name}.a")):
        assert header.index(f" {name}") == lines[0].index(f" {cell}")
    assert lines == [
        f"2026-01-01T00:00:00Z  refused     Forbidden.RAM  live-cn  {LANE.operation}       {a}  {LANE.name}.a",
        f"2026-01-01T00:01:00Z  not_found   -              trtc-sg  {OTHER.operation}  {b}  {OTHER.name}.b",
        f"2026-01-01T00:02:00Z  expired     -              live-cn  {LANE.operation}       {a}  {LANE.name}.c",
        f"2026-01-01T00:03:00Z  unreadable  -              live-cn  {LANE.operation}       {raw}  {raw_id}",
        "4 dead letters",
        "     1  refused     Forbidden.RAM  live-cn",
        "     1  not_found   -              trtc-sg",
        "     1  expired     -              live-cn",
        "     1  unreadable  -              live-cn",
    ]


def test_a_wide_terminal_cuts_the_parameters_only(cemetery: Cemetery, monkeypatch: pytest.MonkeyPatch) -> None:
    cemetery.die("a", command={**COMMAND, "params": {"AppId": "a" * 60, "TaskId": "t"}})
    monkeypatch.setenv("COLUMNS", "160")
    header, line, *_ = run("list", on_terminal=True).stdout.splitlines()
    assert len(line) == 160
    assert line.endswith(f"…  {LANE.name}.a")
    assert f"AppId={'a' * 60}" in line
    assert header.split()[-2:] == ["PARAMETERS", "ID"]
    assert f"AppId={'a' * 60} TaskId=t" in run("list").stdout, "what no terminal shows is not cut"


@pytest.mark.parametrize("columns", [80, 60, 40])
def test_a_narrow_terminal_has_every_id_whole_on_a_line_of_its_own(
    letters: Cemetery, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run("list", on_terminal=True).stdout.splitlines()
    lines = lines[: lines.index("4 dead letters")]
    assert all(len(line) <= columns for line in lines)
    assert lines[0].split()[:4] == ["DIED", "AT", "RESULT", "CODE"]
    assert lines[1] == "  ID"
    assert lines[3::2][:3] == [f"  {LANE.name}.a", f"  {OTHER.name}.b", f"  {LANE.name}.c"]
    assert lines[-2:] == ["  unreadable-1", f"  {LANE.account} {LANE.operation}"]
    assert lines[2].startswith("2026-01-01T00:00:00Z  refused     Forbi")


def test_a_long_list_has_one_header(cemetery: Cemetery, monkeypatch: pytest.MonkeyPatch) -> None:
    cemetery.die("a")
    (letter,) = cemetery.dead.letters()
    monkeypatch.setattr(DeadLetterStore, "letters", lambda _self, _matching: (letter for _ in range(500)))
    assert run("list").stdout.count("DIED AT") == 1


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ("--account live-cn", "a c unreadable-1"),
        ("--operation trtc.StopStreamIngest", "b"),
        ("--result expired", "c"),
        ("--result unreadable", "unreadable-1"),
        ("--code Forbidden.RAM", "a"),
        ("--room r", ""),
        ("--older-than 3m", "a b"),
        ("--older-than 150", "a b"),
        ("--younger-than 120s", "c unreadable-1"),
        ("--younger-than 2h --account trtc-sg", "b"),
        ("--limit 2", "a b"),
    ],
)
def test_the_list_can_be_narrowed(letters: Cemetery, filters: str, names: str) -> None:
    told = objects(run(f"list --json {filters}").stdout)
    assert [one["id"].rpartition(".")[2] for one in told] == names.split()


def test_json_has_everything_of_a_letter_under_stable_names(letters: Cemetery) -> None:
    first, *_, unreadable = objects(run("list --json").stdout)
    assert (
        set(first)
        == set(unreadable)
        == {
            *("id", "account", "operation", "died_at", "room", "outcome", "command", "message"),
            *("result", "code", "reason"),
        }
    )
    assert (first["result"], first["code"], first["reason"]) == ("refused", "Forbidden.RAM", "because")
    assert first["command"] == COMMAND
    assert first["outcome"]["job_id"] == first["id"]
    assert (unreadable["result"], unreadable["message"]) == (None, "not JSON \x1b[2J")


def test_of_more_than_the_limit_it_is_said_that_there_are_more(letters: Cemetery) -> None:
    assert run("list --limit 3").stdout.splitlines()[4] == "3 dead letters, and there are more"
    assert run("list --limit 4").stdout.splitlines()[5] == "4 dead letters"


def test_without_letters_everything_is_well(cemetery: Cemetery) -> None:
    listed = run("list")
    assert (listed.exit_code, listed.stdout) == (0, "0 dead letters\n")
    assert run("list --json").stdout == ""
    for command in ("requeue --all", "drop --account live-cn"):
        assert run(command).exit_code == 0
    waited = run("requeue --all --yes --wait 0")
    assert (waited.exit_code, waited.stdout) == (0, "0 jobs: nothing to wait for\n")


def test_a_hundred_thousand_letters_are_written_as_they_are_read(
    cemetery: Cemetery, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    written = click.echo

    def echo(text: str, *, err: bool = False) -> None:
        held.append(text.count("\n") + 1)
        written(text, err=err)

    cemetery.die("a")
    (one,) = cemetery.dead.letters()
    monkeypatch.setattr(DeadLetterStore, "letters", lambda _self, _matching: (one for _ in range(100_000)))
    monkeypatch.setattr(click, "echo", echo)
    result = run("list")
    assert result.stdout.splitlines()[-2:] == ["100000 dead letters", "100000  refused  -  live-cn"]
    assert max(held) <= 200


# show


def test_a_letter_is_shown_whole(letters: Cemetery) -> None:
    result = run(f"show {LANE.name}.a")
    assert result.exit_code == 0
    facts = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    facts = {name: fact.strip() for name, fact in facts.items()}
    assert facts["dead letter"] == f"{LANE.name}.a"
    assert (facts["result"], facts["code"], facts["message"]) == ("refused", "Forbidden.RAM", "because")
    assert json.loads(facts["command"]) == COMMAND
    assert run(f"show {LANE.name}.a --json").stdout == run("list --json --limit 1").stdout


def test_what_nobody_could_read_is_shown_with_its_text_and_cannot_move_the_terminal(letters: Cemetery) -> None:
    result = run("show unreadable-1")
    assert "raw text     not JSON \\x1b[2J" in result.stdout.splitlines()
    assert "command      none: it cannot be requeued" in result.stdout.splitlines()
    assert "\x1b" not in result.stdout


def test_a_letter_that_is_not_there_exits_1(letters: Cemetery) -> None:
    result = run(f"show {NO_LETTER}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: there is no dead letter {NO_LETTER}: it may have been requeued or dropped\n"


# requeue and drop


def waiting(cemetery: Cemetery) -> list[str]:
    return sorted({message["headers"]["id"] for lane in (LANE, OTHER) for message in cemetery.waiting(lane)})


def test_ids_are_requeued_without_a_question_and_the_new_jobs_are_printed(letters: Cemetery) -> None:
    result = run(f"requeue {LANE.name}.a {OTHER.name}.b {LANE.name}.a")
    assert result.exit_code == 0
    assert sorted(result.stdout.splitlines()) == waiting(letters)
    assert result.stderr == "2 dead letters requeued; look at a job with `streamstop job ID`\n"
    assert letters.ids() == ["c", "unreadable-1"]


def test_ids_can_stand_on_standard_input(letters: Cemetery) -> None:
    listed = objects(run("list --json --limit 2").stdout)
    ids = "\n".join(one["id"] for one in listed) + "\n\n"
    assert run("requeue -", ids).exit_code == 0
    assert letters.ids() == ["c", "unreadable-1"]
    assert run("drop -", f" {LANE.name}.c \r\n").stdout == f"dropped  {LANE.name}.c\n"
    assert run("requeue -", "").stderr.startswith("0 dead letters requeued")


def test_what_cannot_be_requeued_or_is_gone_is_told_and_the_rest_goes_on(letters: Cemetery) -> None:
    result = run(f"requeue {NO_LETTER} unreadable-1 {LANE.name}.a")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr.splitlines() == [
        f"not requeued: there is no dead letter {NO_LETTER}: it may have been requeued or dropped",
        "not requeued: dead letter unreadable-1 has no command: it is no message that a worker can read",
        "1 dead letter requeued, 2 not; look at a job with `streamstop job ID`",
    ]
    dropped = run(f"drop {NO_LETTER} unreadable-1")
    assert (dropped.exit_code, dropped.stdout) == (1, "dropped  unreadable-1\n")
    assert letters.ids() == ["b", "c"]


def test_json_tells_of_every_letter_what_became_of_it(letters: Cemetery) -> None:
    gone, requeued = objects(run(f"requeue --json {NO_LETTER} {LANE.name}.a").stdout)
    names = {"letter", "job_id", "account", "operation", "problem", "outcome"}
    assert set(gone) == set(requeued) == names
    assert (gone["letter"], gone["job_id"]) == (NO_LETTER, None)
    assert "no dead letter" in gone["problem"]
    assert (requeued["letter"], requeued["problem"], requeued["account"]) == (f"{LANE.name}.a", None, "live-cn")
    assert [requeued["job_id"]] == waiting(letters)
    assert objects(run(f"drop --json {LANE.name}.c").stdout) == [
        {"letter": f"{LANE.name}.c", "dropped": True, "problem": None}
    ]


@pytest.mark.parametrize("command", ["requeue", "drop"])
def test_without_a_terminal_many_are_not_touched_unless_yes_is_said(letters: Cemetery, command: str) -> None:
    result = run(f"{command} --account live-cn")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: 3 dead letters match, and there is no terminal to confirm on: pass --yes to {command} them\n"
    )
    assert letters.dead.count() == 4
    assert run(f"{command} --account trtc-sg --yes").exit_code == 0
    assert letters.dead.count() == 3


@pytest.mark.parametrize("command", ["requeue", "drop"])
def test_on_a_terminal_it_is_asked_with_the_number_and_nothing_is_done_without_agreement(
    letters: Cemetery, command: str
) -> None:
    result = run(f"{command} --account live-cn", "n\n", on_terminal=True)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[:2] == ["3 dead letters match:", "     1  refused     Forbidden.RAM  live-cn"]
    assert f"{command.capitalize()} them? [y/N]" in result.stderr
    assert run(f"{command} --account live-cn", "", on_terminal=True).exit_code == 130
    assert letters.dead.count() == 4
    assert run(f"{command} --older-than 3m --result not_found", "y\n", on_terminal=True).exit_code == 0
    assert letters.dead.count() == 3


def test_what_dies_after_the_question_was_asked_is_not_requeued(
    letters: Cemetery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def agree(*_: object, **__: object) -> bool:
        letters.die("later")
        return True

    monkeypatch.setattr(click, "confirm", agree)
    run("requeue --account live-cn", on_terminal=True)
    assert letters.ids() == ["b", "unreadable-1", "later"]


def test_all_is_said_on_purpose(letters: Cemetery) -> None:
    assert run("requeue --all --yes").exit_code == 1, "one of them cannot be"
    assert letters.ids() == ["unreadable-1"]
    assert run("drop --all --yes").exit_code == 0
    assert letters.dead.count() == 0


@pytest.mark.parametrize("command", ["requeue", "drop"])
def test_a_rehearsal_changes_nothing(letters: Cemetery, command: str) -> None:
    before = {key: letters.redis.type(key) for key in letters.redis.scan_iter("*")}
    result = run(f"{command} --dry-run --result not_found")
    assert result.exit_code == 0
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["ID", f"{OTHER.name}.b"]
    past = "requeued" if command == "requeue" else "dropped"
    assert result.stderr == f"1 dead letter would be {past}; nothing was changed\n"
    some = run(f"{command} --dry-run --json {NO_LETTER} {LANE.name}.a unreadable-1")
    assert some.exit_code == 1
    could = [f"{LANE.name}.a", "unreadable-1"][: 1 if command == "requeue" else 2]
    assert [one["id"] for one in objects(some.stdout)] == could
    assert before == {key: letters.redis.type(key) for key in letters.redis.scan_iter("*")}


def test_what_was_done_before_redis_was_lost_is_told(letters: Cemetery, monkeypatch: pytest.MonkeyPatch) -> None:
    really = DeadLetterStore.requeue

    def fail(self: DeadLetterStore, letter_id: str) -> str:
        if letter_id.endswith(".b"):
            raise ConnectionError
        return really(self, letter_id)

    monkeypatch.setattr(DeadLetterStore, "requeue", fail)
    letters.die("d")
    for first, wait in (("a", ""), ("d", "--wait 5")):
        result = run(f"requeue {LANE.name}.{first} {OTHER.name}.b {LANE.name}.c {wait}")
        assert result.exit_code == 4
        assert len([line for line in result.stdout.splitlines() if LANE.name in line]) == 1
        assert result.stderr == (
            "Error: Redis did not answer (ConnectionError): it may or may not be requeued; requeue it again, it cannot "
            "double; 1 dead letter requeued\n"
        )


def test_ctrl_c_among_many_tells_how_far_it_was(letters: Cemetery, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_self: DeadLetterStore, letter_id: str) -> None:
        if letter_id.endswith(".b"):
            raise KeyboardInterrupt

    monkeypatch.setattr(DeadLetterStore, "drop", interrupt)
    result = run("drop --all --yes")
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
    ("names", "result", "told"),
    [
        ("a c", Result.STOPPED, (0, "2 jobs: 2 stopped")),
        ("a c", Result.REFUSED, (1, "2 jobs: 2 refused")),
        ("a b", Result.STOPPED, (3, "2 jobs: 1 stopped, 1 open")),
        ("a nobody", Result.STOPPED, (1, "1 job: 1 stopped")),
    ],
)
def test_with_wait_it_tells_how_the_new_jobs_ended(
    letters: Cemetery, ended: Callable[[Result], None], names: str, result: Result, told: tuple[int, str]
) -> None:
    ended(result)
    ids = " ".join(f"{OTHER.name if name == 'b' else LANE.name}.{name}" for name in names.split())
    done = run(f"requeue {ids} --wait 5")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == told
    row = next(line for line in done.stdout.splitlines() if LANE.name in line)
    assert row.split()[0] == result.value
    assert row.split()[2:4] == ["AppId=a", "TaskId=t"]
    assert row.endswith("Code") is not result.ok


def test_with_wait_and_json_every_letter_has_its_outcome(letters: Cemetery, ended: Callable[[Result], None]) -> None:
    ended(Result.STOPPED)
    result = run(f"requeue {LANE.name}.a {NO_LETTER} --wait 5 --json")
    assert result.exit_code == 1
    stopped, gone = objects(result.stdout)
    assert (stopped["letter"], stopped["outcome"]["result"]) == (f"{LANE.name}.a", "stopped")
    assert (gone["job_id"], gone["outcome"]) == (None, None)


# Input, help, completion: nothing here reaches a queue.


@pytest.fixture
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSTOP_REDIS_URL", NOWHERE)


@pytest.mark.usefixtures("_nowhere")
@pytest.mark.parametrize("command", ["", "list", "show", "requeue", "drop"])
def test_every_command_has_a_help_page_with_an_example(command: str) -> None:
    page = run(f"{command} --help")
    assert page.exit_code == 0
    assert f"streamstop dead {command}".strip() in page.stdout.partition("Examples:")[2]


@pytest.mark.usefixtures("_nowhere")
@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (
            "list --older-than 2x",
            "Invalid value for '--older-than': '2x' is not a duration: give a number of seconds, ",
        ),
        ("list --younger-than -5m", "'-5m' is not a duration"),
        ("list --younger-than nan", "'nan' is not a duration"),
        ("list --older-than ''", "'' is not a duration"),
        ("list --older-than 10000000000d", "is not a duration"),
        ("list --result stopped", "'stopped' is not one of 'not_found', 'refused', 'gave_up', 'expired', "),
        ("list --limit 0", "Invalid value for '--limit': 0 is not in the range x>=1"),
        ("requeue", "Give IDs, filters such as --account, or --all for every dead letter."),
        ("drop --yes", "Give IDs, filters such as --account, or --all for every dead letter."),
        ("requeue x --all", "IDs, filters and --all cannot be combined."),
        ("drop x --account a", "IDs, filters and --all cannot be combined."),
        ("requeue --all --code c", "IDs, filters and --all cannot be combined."),
        ("requeue --all --wait soon", "'soon' is not a number of seconds"),
        ("show", "Missing argument 'ID'"),
        ("show \udcff", "An ID must be UTF-8 text."),
        ("drop \udcff", "An ID must be UTF-8 text."),
    ],
)
def test_bad_input_exits_2_and_says_what_is_wrong(command: str, complaint: str) -> None:
    result = run(command)
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())
    assert result.stdout == ""


@pytest.mark.usefixtures("_nowhere")
def test_an_id_on_standard_input_that_is_no_text_exits_2() -> None:
    assert run("requeue -", b"a\n\xff\n").exit_code == 2


@pytest.mark.usefixtures("_nowhere")
@pytest.mark.parametrize(
    "command", ["list", "list --json", "show x", "requeue x", "requeue --all --yes", "requeue --dry-run x", "drop x"]
)
def test_without_redis_it_exits_4_and_says_so(command: str) -> None:
    result = run(command)
    assert result.exit_code == 4
    assert result.stderr.startswith("Error: Redis did not answer (connection refused at ")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("30s", 30), ("5m", 300), ("2h", 7200), ("7d", 604800), ("1.5h", 5400), ("0", 0)]
)
def test_a_duration_is_a_number_with_or_without_a_unit(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == timedelta(seconds=seconds)


def test_commands_and_operations_complete() -> None:
    def completed(words: str, incomplete: str = "") -> list[str]:
        completion = ShellComplete(main, {}, "streamstop", "_STREAMSTOP_COMPLETE")
        return [item.value for item in completion.get_completions(shlex.split(words), incomplete)]

    assert completed("dead") == ["drop", "list", "requeue", "show"]
    assert completed("dead list --operation") == list(OPERATIONS)
    assert completed("dead requeue --operation", "trtc.Describe") == [
        name for name in OPERATIONS if name.startswith("trtc.Describe")
    ]
    assert "refused" in completed("dead drop --result")
