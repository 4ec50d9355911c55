"""A linter for the Lua scripts: ``python -m tests.support.lua_lint`` checks every script as Redis would run it.

It finds syntax that is not Lua 5.1, undefined and assigned globals, unused locals, functions and arguments, names that
hide another, and heads that include a part or declare a constant which the file does not use, or lack one that it uses.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from luaparser import ast, astnodes
from lupa.lua51 import LuaRuntime

from streamstop._redis.assembly import Assembled, InvalidScript, Part, assemble, names

#: What Redis gives a script, as far as ours use it. ``ARGV`` stands in what the loader writes alone.
GLOBALS = frozenset(
    "ARGV cjson error ipairs math next pairs pcall redis select string table tonumber tostring type unpack".split()  # noqa: SIM905
)
FOLDERS = ("lane", "room", "dead", "batch", "control", "journal", "worker")


@dataclass(frozen=True, order=True)
class Finding:
    """What is wrong, and where."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}.lua:{self.line}: {self.message}"


@dataclass(eq=False)
class Local:
    """A local variable of a script."""

    name: str
    part: str
    line: int
    #: Whether it stands in no function and no block: what comes after its part sees it too.
    is_top: bool
    #: The parts that read it, and those that assign it.
    read_by: set[str] = field(default_factory=set)
    assigned_by: set[str] = field(default_factory=set)


def lint(scripts: Iterable[Assembled]) -> list[Finding]:
    """Return what is wrong with scripts. A part's function is used if one of them uses it."""
    findings: set[Finding] = set()
    used: dict[tuple[str, str], bool] = {}
    places: dict[tuple[str, str], Local] = {}
    for script in scripts:
        linter = _Linter(script)
        findings |= linter.findings
        for local in linter.top:
            key = (local.part, local.name)
            places[key] = local
            used[key] = used.get(key, False) or bool(local.read_by)
    for key, is_used in used.items():
        if not is_used:
            findings.add(Finding(places[key].part, places[key].line, f"{key[1]} is used by no script"))
    return sorted(findings)


class _Linter:
    """Walks one script, part by part, with the locals that are in scope."""

    def __init__(self, script: Assembled) -> None:
        self.findings: set[Finding] = set()
        self.top: list[Local] = []
        self._scopes: list[dict[str, Local]] = [{}]
        self._line = 1
        self._part = script.parts[0]
        for part in script.parts:
            self._part, self._line = part, 1
            try:
                tree = _parse(part.text)
            except ast.SyntaxException as error:
                self._find(str(error))
                return
            self._visit_all(tree.body.body)
        if message := _compile_error(script):
            self._find(message)
        self._check_heads(script.parts)

    def _find(self, message: str, line: int | None = None) -> None:
        self.findings.add(Finding(self._part.name, self._line if line is None else line, message))

    def _check_heads(self, parts: Sequence[Part]) -> None:
        """Find what a part reads of another that it does not include, and what it includes or declares in vain."""
        constants = {name for part in parts for name in part.constants}
        for self._part in parts:
            used = [local for local in self.top if self._part.name in local.read_by | local.assigned_by]
            needed = {local.part for local in used if local.name not in constants} - {self._part.name}
            for name in sorted(needed - set(self._part.includes)):
                self._find(f"uses a local of {name} and does not include it", 1)
            for name in sorted(set(self._part.includes) - needed):
                self._find(f"includes {name} and uses nothing of it", 1)
            for name in sorted({local.name for local in used} & constants - set(self._part.constants)):
                self._find(f"reads {name} and does not declare it", 1)

    def _declare(self, name: str) -> None:
        is_top = len(self._scopes) == 1
        for scope in self._scopes:
            if name in scope and name != "_":
                outer = scope[name]
                self._find(f"{name} hides the local of {outer.part}.lua:{outer.line}")
        local = Local(name, self._part.name, self._line, is_top)
        self._scopes[-1][name] = local
        if is_top:
            self.top.append(local)

    def _look_up(self, name: str) -> Local | None:
        return next((scope[name] for scope in reversed(self._scopes) if name in scope), None)

    def _visit_all(self, nodes: Iterable[Any]) -> None:
        for node in nodes:
            self._visit(node)

    def _visit(self, node: Any) -> None:
        """Visit a statement or an expression."""
        if not isinstance(node, astnodes.Node):
            return
        self._line = node.line or self._line
        match node:
            case astnodes.Name():
                local = self._look_up(node.id)
                if local is not None:
                    local.read_by.add(self._part.name)
                elif node.id not in GLOBALS:
                    self._find(f"{node.id} is no local, and no global of Redis")
            case astnodes.LocalAssign():
                self._visit_all(node.values)
                for target in node.targets:
                    self._declare(target.id)
            case astnodes.LocalFunction():
                self._declare(node.name.id)
                self._visit_function(node.args, node.body)
            case astnodes.AnonymousFunction():
                self._visit_function(node.args, node.body)
            case astnodes.Function():
                self._assign([node.name])
                self._visit_function(node.args, node.body)
            case astnodes.Assign():
                self._visit_all(node.values)
                self._assign(node.targets)
            case astnodes.Fornum():
                self._visit_all([node.start, node.stop, node.step])
                self._visit_block(node.body.body, [node.target])
            case astnodes.Forin():
                self._visit_all(node.iter)
                self._visit_block(node.body.body, node.targets)
            case astnodes.Repeat():
                self._visit_block([*node.body.body, node.test])  # the test sees the block's locals
            case astnodes.Block():
                self._visit_block(node.body)
            case astnodes.Index():
                self._visit(node.value)
                if node.notation is astnodes.IndexNotation.SQUARE:
                    self._visit(node.idx)
            case astnodes.Field():
                if node.between_brackets:
                    self._visit(node.key)
                self._visit(node.value)
            case astnodes.Invoke():
                self._visit(node.source)
                self._visit_all(node.args)
            case _:
                self._visit_all(_children(node))

    def _assign(self, targets: Iterable[Any]) -> None:
        for target in targets:
            if not isinstance(target, astnodes.Name):
                self._visit(target)
            elif (local := self._look_up(target.id)) is not None:
                local.assigned_by.add(self._part.name)
            else:
                self._find(f"{target.id} is assigned, and no local")

    def _visit_function(self, arguments: Iterable[Any], body: Any) -> None:
        self._visit_block(body.body, [argument for argument in arguments if isinstance(argument, astnodes.Name)])

    def _visit_block(self, nodes: Iterable[Any], declared: Iterable[Any] = ()) -> None:
        self._scopes.append({})
        for name in declared:
            self._declare(name.id)
        self._visit_all(nodes)
        for local in self._scopes.pop().values():
            if not local.read_by and local.name not in {"_", "_at"}:
                self._find(f"{local.name} is not used", local.line)


@cache
def _parse(text: str) -> Any:
    return ast.parse(text)


def _children(node: Any) -> Iterator[Any]:
    for name, value in vars(node).items():
        if name == "comments" or name.startswith("_"):
            continue
        yield from value if isinstance(value, list) else [value]


def _compile_error(script: Assembled) -> str | None:
    """Return what Lua 5.1 says of the whole script, None where it would run it."""
    compiled = LuaRuntime().eval("function(text) return select(2, loadstring(text, '=script')) end")(script.text)
    return None if compiled is None else str(compiled)


def unused_parts(scripts: Iterable[Assembled]) -> list[Finding]:
    """Return the library parts that no script includes."""
    included = {part.name for script in scripts for part in script.parts}
    return [Finding(name, 1, "is included by no script") for name in names("lib") if name not in included]


def main() -> int:
    """Check every script; return the program's exit code."""
    try:
        scripts = [assemble(name) for folder in FOLDERS for name in names(folder)]
    except InvalidScript as error:
        print(error)  # noqa: T201
        return 1
    findings = [*lint(scripts), *unused_parts(scripts)]
    print(*findings, sep="\n", end="\n" if findings else "")  # noqa: T201
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
