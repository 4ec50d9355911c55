"""The page of log lines names each event that a worker or the HTTP service logs at info or above, and no other."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from streamstop import Result, Severity
from streamstop._core.findings import ServerFacts
from streamstop._doctor.durability import DURABILITY

ROOT = Path(__file__).parents[2]
CODE = sorted(
    path for part in ("worker/streamstop_worker", "server/streamstop_server") for path in (ROOT / part).rglob("*.py")
)
LEVELS = {"info", "warning", "error", "critical", "exception"}
PAGE = ROOT / "docs/reference/log-lines.md"
KNOWN_EVENT = "this is a bug in streamstop"
#: What redis_check logs of a Redis that has each of the problems.
REDIS_CHECK = {
    f"{finding.text}: {finding.do}"
    for facts in (
        ServerFacts(info={"redis_version": "6.0", "maxmemory_policy": "allkeys-lru", "aof_enabled": 0}),
        ServerFacts(info={"aof_enabled": 1, "role": "slave"}, config={"appendfsync": "no"}),
    )
    for check in DURABILITY
    for finding in check(facts)
    if finding.severity is Severity.PROBLEM
}
#: Events that the code computes, by the text of the expression in the call.
COMPUTED = {
    "outcome.result.value": {result.value for result in Result},
    "member_result.result": {result.value for result in Result},
    "unreachable": set[str](),  # log_error's argument: collected where it is called
    "f'{finding.text}: {finding.do}'": REDIS_CHECK,
}


def test_the_page_of_log_lines_has_every_event_and_no_other() -> None:
    logged = {event for path in CODE for event in events_of(path)}
    assert len(logged) > 20
    documented = documented_events()
    assert (sorted(logged - documented), sorted(documented - logged)) == ([], [])


def test_the_page_says_each_events_level() -> None:
    levels: defaultdict[str, set[str]] = defaultdict(set)
    for path in CODE:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _logs(node.func) and isinstance(node.args[0], ast.Constant):
                levels[str(node.args[0].value)] |= _levels(node.func)
    assert len(levels) > 20
    rows = re.findall(r"^\| (`[^|]+) \| ([a-z, ]+) \|", PAGE.read_text(), re.MULTILINE)
    documented = {event: set(said.split(", ")) for events, said in rows for event in re.findall(r"`([^`]+)`", events)}
    assert {event: documented[event] for event in levels} == levels


def _levels(function: ast.expr) -> set[str]:
    if isinstance(function, ast.IfExp):
        return _levels(function.body) | _levels(function.orelse)
    assert isinstance(function, ast.Attribute)
    return {"error" if function.attr == "exception" else function.attr}


def events_of(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    texts = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    texts |= {"EVENT": ast.Constant(KNOWN_EVENT)}  # bugs.EVENT, which other modules import
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _logs(node.func):
            yield from _texts(node.args[0], texts, path)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "log_error":
            (unreachable,) = [keyword.value for keyword in node.keywords if keyword.arg == "unreachable"]
            yield from _texts(unreachable, texts, path)


def _logs(function: ast.expr) -> bool:
    """Whether a call of this function may log at warning or above."""
    if isinstance(function, ast.IfExp):
        return _logs(function.body) or _logs(function.orelse)
    return isinstance(function, ast.Attribute) and function.attr in LEVELS and "log" in ast.unparse(function.value)


def _texts(event: ast.expr, texts: dict[str, ast.expr], path: Path) -> set[str]:
    if isinstance(event, ast.Name):
        event = texts.get(event.id, event)
    if isinstance(event, ast.Constant):
        assert isinstance(event.value, str)
        return {event.value}
    assert ast.unparse(event) in COMPUTED, f"{path.name}: an event must be one text, not {ast.unparse(event)}"
    return COMPUTED[ast.unparse(event)]


def documented_events() -> set[str]:
    """Return the events in the first columns of the page's tables."""
    return {
        event
        for row in re.findall(r"^\| (`[^|]+) \|", PAGE.read_text(), re.MULTILINE)
        for event in re.findall(r"`([^`]+)`", row)
    }
