"""The JSON Schemas of the reference are those of the models, and its examples fit them."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.support.documentation import ROOT, Snippet, snippets
from tests.support.json_schemas import FOLDER, LINES, main, problems, schema_of, schema_texts

PAGE = ROOT / "docs" / "reference" / "json.md"
#: The schemas of the models that the page shows. A dead letter has fields of its own in the line.
SHOWN = {
    "Outcome": "outcome",
    "Progress": "progress",
    "LaneView": "lanes",
    "Drained": "drain",
    "Event": "events",
    "ErrorCount": "errors",
    "Sighting": "find",
    "WorkerView": "workers",
    "Finding": "doctor",
}
EXAMPLES = [
    snippet
    for snippet in snippets(PAGE, "json")
    if snippet.comment is not None and snippet.comment[1].removeprefix("streamstop.") in SHOWN
]


def test_the_files_are_what_the_command_writes(tmp_path: Path) -> None:
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == schema_texts()
    (tmp_path / "old.json").write_text("{}")
    main(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == schema_texts()


@pytest.mark.parametrize("name", LINES)
def test_each_schema_is_valid_and_the_page_leads_to_it(name: str) -> None:
    Draft202012Validator.check_schema(schema_of(name))
    assert f"schemas/{name}.json" in PAGE.read_text()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda snippet: snippet.comment[1])
def test_the_examples_of_the_page_fit_the_schemas(example: Snippet) -> None:
    assert example.comment is not None
    name = SHOWN[example.comment[1].removeprefix("streamstop.")]
    assert problems(name, json.loads(example.text)) == []


def test_every_example_is_checked() -> None:
    assert len(EXAMPLES) == len(SHOWN)


@pytest.mark.parametrize(
    "broken",
    [{"job_id": 1}, {"result": "ended"}, {"at": "yesterday"}, {"where": None}],
    ids=["type", "enumeration", "moment", "null"],
)
def test_a_line_that_does_not_fit_is_found(broken: dict[str, Any]) -> None:
    sighting: dict[str, Any] = {
        "where": "ended",
        "account": "a",
        "operation": "live.StopMPUTask",
        "params": {},
        "job_id": "1",
        "result": "stopped",
        "at": "2026-01-01T00:00:00Z",
        "place": None,
        "room": None,
        "shutdown": None,
    }
    assert problems("find", sighting) == []
    assert problems("find", {**sighting, "new": 1}) == [], "newer versions may add fields"
    (field,) = broken
    assert {problem.partition(":")[0] for problem in problems("find", sighting | broken)} == {f"$.{field}"}
    assert problems("find", {key: value for key, value in sighting.items() if key not in broken}) != []
