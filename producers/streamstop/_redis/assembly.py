"""Assembly: builds each Lua script from its file and the library parts that it includes, and binds its arguments.

Each file in ``lua/`` begins with directives::

    --! include lib/clock lib/lane              library parts to put before this file, each once
    --! const MOST_DEAD WAKE                    constants of streamstop._core.constants, as locals
    --! args owner most:int full:flag lanes...  the arguments, as locals

Library parts can include other parts. An argument is text. An ``int`` becomes a number, a ``flag`` true or false. The
last argument can be a list: ``lanes...`` of texts, ``entries(task command)...`` of tables. Each directive is replaced
in its line, so line numbers stay the same.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any

from streamstop._core import constants

_LUA = resources.files("streamstop._redis") / "lua"
_DIRECTIVE = re.compile(r"--! (include|const|args) (\S.*)")
_ARGUMENTS = re.compile(r"(?P<plain>[^()]*?)(?:\b(?P<rest>\w+)(?:\((?P<fields>[^()]*)\))?\.\.\.)?\s*")
_ARGUMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::(int|flag))?")
_READ = {None: "{}", "int": "tonumber({})", "flag": "{} == '1'"}
#: String literals and comments. Words in them are not names.
_OPAQUE = re.compile(r"""'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|--[^\n]*""")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYWORD = re.compile(
    "and|break|do|else|elseif|end|false|for|function|if|in|local|nil|not|or|repeat|return|then|true|until|while"
)
#: The parameters of :class:`~streamstop._redis.scripts.Script` itself.
_RESERVED = frozenset({"client", "keys"})


class InvalidScript(ValueError):
    """A Lua file declares something that does not exist or that it does not use, or its directives are invalid."""


@dataclass(frozen=True)
class Arguments:
    """The arguments of a script: ``--! args``."""

    #: Each argument with its type; None: text.
    plain: Mapping[str, str | None]
    #: The list at the end, and the fields of its tables; None: a list of texts.
    rest: str | None = None
    fields: Mapping[str, str | None] | None = None

    @cached_property
    def names(self) -> frozenset[str]:
        """Every argument."""
        return frozenset(self.plain) | ({self.rest} if self.rest else frozenset())

    @classmethod
    def parse(cls, text: str) -> "Arguments":
        """Parse the text of an ``args`` directive."""
        found = _ARGUMENTS.fullmatch(text)
        if found is None:
            raise InvalidScript(f"a list must come last, as lanes... or entries(task command)...: {text}")
        rest, fields = found["rest"], found["fields"]
        plain = _typed(found["plain"].split())
        last = _typed([rest]) if rest else {}
        if twice := plain.keys() & last.keys():
            raise InvalidScript(f"{twice.pop()} is declared twice")
        if reserved := (plain.keys() | last.keys()) & _RESERVED:
            raise InvalidScript(f"{reserved.pop()} is reserved")
        if fields is not None and not fields.split():
            raise InvalidScript(f"the tables of {rest} have no fields")
        return cls(plain, rest, None if fields is None else _typed(fields.split()))

    @property
    def lua(self) -> str:
        """The statements that declare the locals, on one line."""
        statements = []
        if self.plain:
            values = (_READ[kind].format(f"ARGV[{at}]") for at, kind in enumerate(self.plain.values(), 1))
            statements.append(f"local {', '.join(self.plain)} = {', '.join(values)}")
        first = len(self.plain) + 1
        if self.fields is not None:
            offsets = enumerate(self.fields.items())
            values = (f"{name} = {_READ[kind].format(f'ARGV[_at + {offset}]')}" for offset, (name, kind) in offsets)
            loop = f"for _at = {first}, #ARGV, {len(self.fields)} do"
            put = f"{self.rest}[#{self.rest} + 1] = {{{', '.join(values)}}}"
            statements.append(f"local {self.rest} = {{}} {loop} {put} end")
        elif self.rest is not None:
            put = f"{self.rest}[_at - {first - 1}] = ARGV[_at]"
            statements.append(f"local {self.rest} = {{}} for _at = {first}, #ARGV do {put} end")
        return " ".join(statements)

    def values(self, arguments: Mapping[str, Any]) -> list[Any]:
        """Return ARGV. Raises TypeError if an argument is missing or unknown, and names it."""
        if arguments.keys() != self.names:
            _raise_mismatch(arguments.keys(), self.names, "argument")
        values = [arguments[name] for name in self.plain]
        if self.fields is not None and self.rest is not None:
            for entry in arguments[self.rest]:
                try:
                    values += [entry[name] for name in self.fields]
                except KeyError:
                    _raise_mismatch(entry.keys(), self.fields.keys(), f"field in {self.rest}")
                if len(entry) != len(self.fields):
                    _raise_mismatch(entry.keys(), self.fields.keys(), f"field in {self.rest}")
        elif self.rest is not None:
            values += arguments[self.rest]
        return [int(value) if value is True or value is False else value for value in values]


@dataclass(frozen=True)
class Part:
    """One file as a part of a script, with the same line numbers."""

    name: str
    text: str
    #: From the file's own directives.
    includes: Sequence[str]
    constants: Sequence[str]


@dataclass(frozen=True)
class Assembled:
    """A complete script."""

    name: str
    #: The included parts, in order, and the script's own file last.
    parts: Sequence[Part]
    arguments: Arguments

    @property
    def text(self) -> str:
        """The script's text, as Redis runs it."""
        return "".join(part.text for part in self.parts)

    def locate(self, line: int) -> str:
        """Return the file and the line in it for a `line` of the text."""
        for part in self.parts:
            count = part.text.count("\n")
            if line <= count:
                return f"{part.name}.lua:{line}"
            line -= count
        return f"{self.name}.lua"


def folders() -> list[str]:
    """Return the folders of ``lua/`` that hold scripts."""
    return sorted(entry.name for entry in _LUA.iterdir() if entry.is_dir() and entry.name != "lib")


def names(folder: str) -> list[str]:
    """Return the names of the scripts in a folder of ``lua/``, such as ``lane/take``."""
    files = sorted(file.name for file in (_LUA / folder).iterdir())
    return [f"{folder}/{file.removesuffix('.lua')}" for file in files if file.endswith(".lua")]


@cache
def assemble(name: str) -> Assembled:
    """Return the script in the file ``<name>.lua``. Raises :class:`InvalidScript`."""
    return assemble_from(name, _read)


def assemble_from(name: str, read: Callable[[str], str]) -> Assembled:
    """Return a script; ``read(name)`` returns the text of a file."""
    assembler = _Assembler(name, read)
    try:
        return assembler.assemble()
    except InvalidScript as error:
        raise InvalidScript(f"{assembler.file}.lua: {error}") from None


class _Assembler:
    def __init__(self, name: str, read: Callable[[str], str]) -> None:
        self._name = name
        self._read = read
        self._parts: list[Part] = []
        self._arguments: Arguments | None = None
        self._begun: set[str] = set()
        self._constants: set[str] = set()
        self._words: set[str] = set()
        #: The current file.
        self.file = name

    def assemble(self) -> Assembled:
        """Return the script."""
        self._add(self._name)
        arguments = self._arguments or Arguments({})
        _check_used(arguments.fields or (), self._words)  # by its file, or by a part that receives the table
        return Assembled(self._name, self._parts, arguments)

    def _add(self, file: str) -> None:
        """Add the parts that a file includes, and then the file."""
        if file in self._begun:
            return
        self._begun.add(file)
        text = self._read(file)
        self.file = file
        words = set(_WORD.findall(_OPAQUE.sub(" ", text)))
        self._words |= words
        if misused := words & {"ARGV", "KEYS"}:
            raise InvalidScript(f"it reads {misused.pop()}: declare arguments, and build the names of keys")
        lines = text.split("\n")
        directives = list(_directives(lines))
        includes = [name for _, directive, what in directives if directive == "include" for name in what.split()]
        shared = [name for _, directive, what in directives if directive == "const" for name in what.split()]
        _check_used(shared, words)
        for part in includes:
            if not part.startswith("lib/"):
                raise InvalidScript(f"it includes {part}, which is not in lib/")
            self._add(part)
            self.file = file
        for at, directive, what in directives:
            lines[at] = ""
            if directive == "const":
                lines[at] = self._declare_constants(what.split())
            elif directive == "args":
                arguments = self._declare_arguments(file, what)
                _check_used(arguments.names, words)
                lines[at] = arguments.lua
        self._parts.append(Part(file, "\n".join(lines).rstrip("\n") + "\n", includes, shared))

    def _declare_constants(self, names: Sequence[str]) -> str:
        """Return the declarations of constants that are not declared yet in this script."""
        new = [name for name in names if name not in self._constants]
        self._constants.update(new)
        return " ".join(map(_constant, new))

    def _declare_arguments(self, file: str, what: str) -> Arguments:
        if file != self._name:
            raise InvalidScript("a library part has no arguments")
        if self._arguments is not None:
            raise InvalidScript("it declares its arguments twice")
        self._arguments = Arguments.parse(what)
        return self._arguments


def _check_used(declared: Iterable[str], words: Collection[str]) -> None:
    if unused := sorted(name for name in declared if name not in words):
        raise InvalidScript(f"it declares {unused[0]} and does not use it")


def _read(name: str) -> str:
    try:
        return (_LUA / f"{name}.lua").read_text(encoding="utf-8")
    except OSError:
        raise InvalidScript(f"there is no {name}.lua") from None


def _directives(lines: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Yield the directives with their line numbers. They must be the first lines of the file."""
    head = True
    for at, line in enumerate(lines):
        if not line.startswith("--!"):
            head = False
            continue
        found = _DIRECTIVE.fullmatch(line)
        if not found or not head:
            raise InvalidScript(f"line {at + 1} is not a directive at the head of the file: {line}")
        yield at, found[1], found[2]


def _typed(declared: Sequence[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for text in declared:
        argument = _ARGUMENT.fullmatch(text)
        if argument is None or _KEYWORD.fullmatch(argument[1]):
            raise InvalidScript(f"{text} is not a valid argument name, or its type is unknown")
        if argument[1] in found:
            raise InvalidScript(f"{argument[1]} is declared twice")
        found[argument[1]] = argument[2]
    return found


def _constant(name: str) -> str:
    value = getattr(constants, name, None) if name.isupper() else None
    if not isinstance(value, str | int):
        raise InvalidScript(f"there is no constant {name}")
    return f"local {name} = {value if isinstance(value, int) else _literal(value)}"


def _literal(text: str) -> str:
    """Return a text as a Lua string literal."""
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in "'\\" else f"\\{byte:03}" for byte in text.encode())
    return f"'{''.join(plain)}'"


def _raise_mismatch(given: Any, wanted: Any, what: str) -> None:
    for name in sorted(set(wanted) - set(given)):
        raise TypeError(f"missing {what}: {name}")
    for name in sorted(set(given) - set(wanted)):
        raise TypeError(f"unexpected {what}: {name}")
