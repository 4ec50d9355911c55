"""Lua scripts: a wrong head fails when it is read, a wrong argument when the script is called."""

import re
from typing import Any
from unittest import mock

import pytest
from fakeredis import FakeRedis
from redis.exceptions import ResponseError

from streamstop._core import constants
from streamstop._redis.assembly import InvalidScript, assemble, assemble_from, names
from streamstop._redis.scripts import Script, load

FOLDERS = ("lane", "room", "dead", "batch", "control", "journal", "worker")
NAMES = [name for folder in FOLDERS for name in names(folder)]


def made(text: str, **parts: str) -> Script:
    files = {"lane/script": text, **{f"lib/{name}": part for name, part in parts.items()}}
    return Script(FakeRedis(), assemble_from("lane/script", files.__getitem__))


def test_arguments_are_locals_of_their_types() -> None:
    text = """--! args name count:int yes:flag no:flag share:int lanes...
return {name, type(count), tostring(count + 1), tostring(yes), tostring(no), tostring(share), #lanes, lanes[2]}
"""
    reply = made(text)(name="a", count=41, yes=True, no=False, share=0.5, lanes=["b", b"c"])
    assert reply == [b"a", b"number", b"42", b"true", b"false", b"0.5", 2, b"c"]


def test_a_list_of_tables_has_their_fields() -> None:
    text = """--! args id entries(task ok:flag size:int)...
local found = {id}
for _, entry in ipairs(entries) do
    found[#found + 1] = {entry.task, tostring(entry.ok), entry.size + 1}
end
return found
"""
    entries = [{"size": 1, "task": "a", "ok": True}, {"task": "b", "ok": False, "size": 2}]
    assert made(text)(id="x", entries=entries) == [b"x", [b"a", b"true", 2], [b"b", b"false", 3]]
    assert made(text)(id="x", entries=[]) == [b"x"]


def test_a_script_can_have_no_arguments() -> None:
    assert made("return 5")() == 5


def test_constants_are_those_of_python() -> None:
    text = "--! const MOST_DEAD PRIORITY_SEPARATOR RETRY_RECORD\nreturn {MOST_DEAD, PRIORITY_SEPARATOR, RETRY_RECORD}"
    separator = constants.PRIORITY_SEPARATOR.encode()
    assert made(text)() == [constants.MOST_DEAD, separator, constants.RETRY_RECORD.encode()]


def test_a_constant_may_hold_what_lua_reads_otherwise() -> None:
    with mock.patch.object(constants, "DEAD", "a'b\\c\nd\x001é"):
        assert made("--! const DEAD\nreturn DEAD")() == "a'b\\c\nd\x001é".encode()


def test_parts_stand_before_what_includes_them_and_once() -> None:
    parts = {
        "a": "local a = {1}\n",
        "b": "--! include lib/a\n--! const DEAD\ntable.insert(a, DEAD)\n",
        "c": "--! include lib/b lib/a\n--! const DEAD\ntable.insert(a, DEAD)\n",
    }
    assert made("--! include lib/c lib/a\nreturn a", **parts)() == [1, b"streamstop.dead", b"streamstop.dead"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("--! include lib/none\nreturn 1", "lane/script.lua: there is no lib/none.lua"),
        ("--! include lane/take\nreturn 1", "which is not in lib/"),
        ("--! const NOTHING\nreturn NOTHING", "there is no constant NOTHING"),
        ("--! const MOST_DEAD\nreturn 'MOST_DEAD' -- MOST_DEAD", "declares MOST_DEAD and does not use it"),
        ("--! args a b a\nreturn {a, b}", "a is declared twice"),
        ("--! args a a...\nreturn a", "a is declared twice"),
        ("--! args s(a a)...\nreturn s[1].a", "a is declared twice"),
        ("--! args s()...\nreturn s", "no fields"),
        ("--! args end\nreturn 1", "end is not a valid argument name"),
        ("--! args 1a\nreturn 1", "1a is not a valid argument name"),
        ("--! args a-b\nreturn 1", "a-b is not a valid argument name"),
        ("--! args a:text\nreturn a", "a:text is not a valid argument name"),
        ("--! args a... b\nreturn {a, b}", "a... is not a valid argument name"),
        ("--! args s(a b) c\nreturn {s, c}", "a list must come last"),
        ("--! args client\nreturn client", "client is reserved"),
        ("--! args a b\nreturn a", "declares b and does not use it"),
        ("--! args a...\nreturn 'a' -- a", "declares a and does not use it"),
        ("--! args s(a b)...\nreturn s[1].a", "declares b and does not use it"),
        ("--! args a\n--! args b\nreturn {a, b}", "declares its arguments twice"),
        ("--! args a\nreturn {a, ARGV[2]}", "it reads ARGV"),
        ("return KEYS[1]", "it reads KEYS"),
        ("--! takes a\nreturn a", "line 1 is not a directive"),
        ("local b = 1\n--! args a\nreturn {a, b}", "line 2 is not a directive at the head"),
    ],
)
def test_a_wrong_head_fails_when_it_is_read(text: str, why: str) -> None:
    files: dict[str, str] = {"lane/script": text}

    def read(name: str) -> str:
        if name not in files:
            raise InvalidScript(f"there is no {name}.lua")
        return files[name]

    with pytest.raises(InvalidScript, match=re.escape(why)):
        assemble_from("lane/script", read)


def test_a_part_has_no_arguments_and_is_named_where_it_is_wrong() -> None:
    with pytest.raises(InvalidScript, match=re.escape("lib/part.lua: a library part has no arguments")):
        made("--! include lib/part\nreturn 1", part="--! args a\nlocal b = a\n")


def test_a_script_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(InvalidScript, match=re.escape("lane/none.lua: there is no lane/none.lua")):
        assemble("lane/none")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"a": 1}, "script lane/script: missing argument: entries"),
        ({"entries": []}, "script lane/script: missing argument: a"),
        ({"a": 1, "entries": [], "b": "secret"}, "script lane/script: unexpected argument: b"),
        ({"a": 1, "entries": [{"task": "x"}]}, "script lane/script: missing field in entries: size"),
        ({"a": 1, "entries": [{"task": 1, "size": 1, "b": 2}]}, "script lane/script: unexpected field in entries: b"),
    ],
)
def test_a_wrong_call_fails_with_the_arguments_name_alone(arguments: dict[str, Any], why: str) -> None:
    script = made("--! args a:int entries(task size)...\nreturn {a, entries[1].task, entries[1].size}")
    with pytest.raises(TypeError, match=f"^{re.escape(why)}$"):
        script(**arguments)


def test_a_script_runs_with_a_pipeline() -> None:
    redis = FakeRedis()
    text = "--! args name\nreturn redis.call('INCR', name)"
    script = Script(redis, assemble_from("lane/script", {"lane/script": text}.__getitem__))
    pipeline = redis.pipeline(transaction=False)
    script(name="a", client=pipeline)
    script(name="a", client=pipeline)
    assert pipeline.execute() == [1, 2]


def test_an_error_names_its_file() -> None:
    script = made(
        "--! include lib/part\n\nreturn f()", part="-- A comment.\nlocal function f()\n    return nil + 1\nend\n"
    )
    failed = ResponseError(
        "ERR user_script:3: attempt to perform arithmetic on a nil value script: 0, on @user_script:3."
    )
    with mock.patch.object(script, "_registered", side_effect=failed), pytest.raises(ResponseError) as raised:
        script()
    assert raised.value.__notes__ == ["at lib/part.lua:3"]


@pytest.mark.parametrize("name", NAMES)
def test_every_line_of_an_assembled_script_is_traced_to_its_file(name: str) -> None:
    script = assemble(name)
    lines = script.text.split("\n")
    places = [script.locate(number) for number in range(1, len(lines))]
    assert len(set(places)) == len(places)
    assert places[-1].startswith(f"{name}.lua:")


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_is_loaded_whole(folder: str) -> None:
    assert {f"{folder}/{name}" for name in load(FakeRedis(), folder)} == set(names(folder)) != set()
