"""The linter finds each mistake in small scripts, and none in correct ones."""

import pytest

from streamstop._redis.assembly import Assembled, assemble_from
from tests.support import lua_lint
from tests.support.lua_lint import lint


def script(text: str, **parts: str) -> Assembled:
    files = {"lane/script": text, **{f"lib/{name}": part for name, part in parts.items()}}
    return assemble_from("lane/script", files.__getitem__)


def findings(text: str, **parts: str) -> list[str]:
    return [str(finding) for finding in lint([script(text, **parts)])]


def test_a_good_script_passes() -> None:
    text = """--! include lib/clock
--! const MOST_DEAD
--! args most:int lanes...
local counts = {}
for i, lane in ipairs(lanes) do
    local found, list = {at = now}, redis.call('LRANGE', lane, 0, most)
    counts[i] = #list + found.at
end
repeat
    local done = #counts < MOST_DEAD
    table.remove(counts)
until done
local function add(_, ...)
    return select('#', ...)
end
return {add(counts)}
"""
    assert findings(text, clock="local now = redis.call('TIME')[1]\n") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("return undefined", "lane/script.lua:1: undefined is no local, and no global of Redis"),
        ("local a = {}\nreturn a[b]", "lane/script.lua:2: b is no local, and no global of Redis"),
        ("local a = {}\nreturn {[b] = a, c = 1}", "lane/script.lua:2: b is no local, and no global of Redis"),
        (
            "if true then local a = 1 redis.call(a) end\nreturn a",
            "lane/script.lua:2: a is no local, and no global of Redis",
        ),
        ("local a = a\nreturn a", "lane/script.lua:1: a is no local, and no global of Redis"),
        ("return os.time()", "lane/script.lua:1: os is no local, and no global of Redis"),
        ("count = 1", "lane/script.lua:1: count is assigned, and no local"),
        ("function count() end", "lane/script.lua:1: count is assigned, and no local"),
        ("local a = 1\nreturn 2", "lane/script.lua:1: a is used by no script"),
        ("local a = 1\na = 2", "lane/script.lua:1: a is used by no script"),
        ("local function f() end", "lane/script.lua:1: f is used by no script"),
        ("do\n    local a = 1\nend", "lane/script.lua:2: a is not used"),
        ("local function f(a) end\nf()", "lane/script.lua:1: a is not used"),
        ("for i = 1, 2 do redis.call('PING') end", "lane/script.lua:1: i is not used"),
        ("for _, v in ipairs({}) do end", "lane/script.lua:1: v is not used"),
        (
            "local a = 1\nif a then local a = 2 redis.call(a) end",
            "lane/script.lua:2: a hides the local of lane/script.lua:1",
        ),
        ("local a = 1\nlocal a = 2\nreturn a", "lane/script.lua:2: a hides the local of lane/script.lua:1"),
        (
            "local a = 1\nreturn function(a) return a end, a",
            "lane/script.lua:2: a hides the local of lane/script.lua:1",
        ),
        (
            "--! args owner\nlocal owner = 1\nreturn owner",
            "lane/script.lua:2: owner hides the local of lane/script.lua:1",
        ),
        ("--! args s(a b)...\nreturn s[1].a, b", "lane/script.lua:2: b is no local, and no global of Redis"),
    ],
)
def test_each_mistake_is_found(text: str, found: str) -> None:
    assert found in findings(text)


@pytest.mark.parametrize("text", ["local = 1", "return ]", "goto out\n::out::", "return 'open"])
def test_syntax_that_is_not_lua_5_1_is_found(text: str) -> None:
    assert findings(text)


def test_too_many_locals_are_found() -> None:
    names = [f"a{number}" for number in range(201)]
    text = "".join(f"local {name} = 1\n" for name in names) + f"return {{{', '.join(names)}}}\n"
    assert any("200 local variables" in found for found in findings(text))


def test_an_unused_part_is_found() -> None:
    found = findings("--! include lib/clock\nreturn 1", clock="local now = 1\n")
    assert "lane/script.lua:1: includes lib/clock and uses nothing of it" in found
    assert "lib/clock.lua:1: now is used by no script" in found


def test_a_part_is_included_by_each_file_that_uses_it() -> None:
    parts = {"clock": "local now = 1\n", "lane": "--! include lib/clock\nlocal at = now\n"}
    found = findings("--! include lib/lane\nreturn at + now", **parts)
    assert found == ["lane/script.lua:1: uses a local of lib/clock and does not include it"]


def test_assigning_a_parts_local_uses_the_part() -> None:
    assert findings("--! include lib/a\na = 2\nreturn f()", a="local a = 1\nlocal function f() return a end\n") == []


def test_a_constant_is_declared_by_each_file_that_uses_it() -> None:
    part = "--! const DEAD\nlocal dead = DEAD\n"
    found = findings("--! include lib/part\nreturn {dead, DEAD}", part=part)
    assert found == ["lane/script.lua:1: reads DEAD and does not declare it"]
    assert findings("--! include lib/part\n--! const DEAD\nreturn {dead, DEAD}", part=part) == []


def test_a_function_that_another_script_uses_is_used() -> None:
    part = "local function f() return 1 end\nlocal function g() return 2 end\n"
    one = script("--! include lib/part\nreturn f()", part=part)
    other = script("--! include lib/part\nreturn g()", part=part)
    assert [str(finding) for finding in lint([one])] == ["lib/part.lua:2: g is used by no script"]
    assert lint([one, other]) == []


def test_the_scripts_of_this_project_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert (lua_lint.main(), capsys.readouterr().out) == (0, "")


def test_a_finding_fails_the_check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(lua_lint, "assemble", lambda name: script("return undefined"))
    assert lua_lint.main() == 1
    assert "lane/script.lua:1: undefined is no local" in capsys.readouterr().out
