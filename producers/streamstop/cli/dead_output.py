"""What the command line prints about dead letters: tables, pages and JSON, without I/O."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from streamstop._core.answers import CallAnswer
from streamstop._core.lane import Lane
from streamstop._core.letters import UNREADABLE, DeadLetter
from streamstop.cli._shared.output import (
    aligned,
    aligned_facts,
    answer_facts,
    clip,
    counted,
    moment_and_age,
    moment_text,
    outcome_facts,
    params_text,
    printable,
)

_HEADER = ("DIED AT", "RESULT", "CODE", "ACCOUNT", "OPERATION", "PARAMETERS", "ID")
_NARROW_HEADER = ("DIED AT", "RESULT", "CODE", "PARAMETERS")
_PARAMETERS = _HEADER.index("PARAMETERS")
_MAX_PARAMETERS, _MIN_PARAMETERS = 100, 20
_MAX_CODE, _MAX_NARROW_CODE = 60, 24
_MAX_KINDS = 20

#: Result, code and account: letters are counted by these.
LetterKind = tuple[str, str, str]


def letter_json(letter: DeadLetter, **more: object) -> str:
    """Return a whole letter as one line of ASCII JSON."""
    derived = {"result": letter.result, "code": letter.code, "reason": letter.reason}
    return json.dumps(letter.model_dump(mode="json") | derived | more)


def letter_table(letters: Sequence[DeadLetter], width: int | None = None, *, header: bool = True) -> Iterator[str]:
    """Yield an aligned line for each letter, below a header.

    The lines fit `width`: first the parameters are cut, then the ID moves to a line of its own. An ID is never cut,
    because the other commands take it.
    """
    rows = [_cells(letter) for letter in letters]
    lines = list(aligned([_HEADER, *rows]))
    excess = 0 if width is None else max(map(len, lines)) - width
    if width is not None and excess > 0:
        parameters_width = max(len(row[_PARAMETERS]) for row in rows) - excess
        if parameters_width < _MIN_PARAMETERS:
            yield from _narrow_table(letters, width, header=header)
            return
        for row in rows:
            row[_PARAMETERS] = clip(row[_PARAMETERS], parameters_width)
        lines = list(aligned([_HEADER, *rows]))
    yield from lines if header else lines[1:]


def count_letters(count: int) -> str:
    """Return a count of letters: ``1 dead letter``, ``2 dead letters``."""
    return counted(count, "dead letter")


def kind_of(letter: DeadLetter) -> LetterKind:
    """Return what the letter is counted by."""
    return _result_name(letter), _code_text(letter), letter.account


def kinds_table(kinds: "Counter[LetterKind]") -> Iterator[str]:
    """Yield the number of letters of each kind, the largest first."""
    largest = kinds.most_common(_MAX_KINDS)
    yield from aligned([f"{count:6}", *kind] for kind, count in largest)
    if len(largest) < len(kinds):
        yield f"     … and {counted(len(kinds) - len(largest), 'more kind')}"


def letter_page(letter: DeadLetter, now: datetime, answers: Sequence[CallAnswer] = ()) -> Iterator[str]:
    """Yield everything that is known of a letter, one fact per line."""
    facts = {"dead letter": letter.id, "died at": moment_and_age(letter.died_at, now), "result": _result_name(letter)}
    facts |= {"account": letter.account, "operation": letter.operation}
    if letter.room is not None:
        facts["room"] = letter.room
    outcome = letter.outcome
    if outcome is not None:
        facts |= outcome_facts(outcome, now)
        for name in ("status", "reply"):
            if getattr(outcome, name) is not None:
                facts[name] = json.dumps(outcome.model_dump(mode="json")[name], ensure_ascii=False)
    else:
        facts["message"] = letter.reason
    facts |= dict(answer_facts(answers, now))
    facts["command"] = "none: it cannot be requeued" if letter.command is None else _json(letter.command)
    if letter.message is not None:
        facts["raw text"] = letter.message
    return aligned_facts(facts)


def _narrow_table(letters: Sequence[DeadLetter], width: int, *, header: bool) -> Iterator[str]:
    """Yield two lines for each letter. Account and operation are left out, as the ID below names them."""
    rows = [
        [_time_text(letter), _result_name(letter), clip(_code_text(letter), _MAX_NARROW_CODE), _parameters(letter)]
        for letter in letters
    ]
    first, *rest = (clip(line, width) for line in aligned([_NARROW_HEADER, *rows]))
    if header:
        yield first
        yield "  ID"
    for letter, line in zip(letters, rest, strict=True):
        yield line
        yield printable(f"  {letter.id}")
        if Lane.of_job(letter.id) != Lane(letter.account, letter.operation):
            yield clip(printable(f"  {letter.account} {letter.operation}"), width)


def _cells(letter: DeadLetter) -> list[str]:
    return [
        _time_text(letter),
        _result_name(letter),
        _code_text(letter),
        letter.account,
        letter.operation,
        _parameters(letter),
        letter.id,
    ]


def _time_text(letter: DeadLetter) -> str:
    return moment_text(letter.died_at)


def _result_name(letter: DeadLetter) -> str:
    return UNREADABLE if letter.result is None else letter.result.value


def _code_text(letter: DeadLetter) -> str:
    return clip(letter.code or "-", _MAX_CODE)


def _parameters(letter: DeadLetter) -> str:
    """Return the parameters, or the text of an unreadable message, escaped: escapes count for the width."""
    params = None if letter.outcome is None else letter.outcome.params
    if params is None:
        params = (letter.command or {}).get("params")
    if isinstance(params, Mapping):
        text = params_text(params) or "-"
    else:
        text = letter.message or "-" if params is None else _json(params)
    return clip(printable(text[: _MAX_PARAMETERS + 1]), _MAX_PARAMETERS)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
