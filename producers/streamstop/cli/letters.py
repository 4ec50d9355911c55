"""What the command line prints of dead letters: text from letters, pure."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from streamstop.cli.matching import UNREADABLE
from streamstop.cli.progress import number
from streamstop.cli.showing import printable
from streamstop.dead import DeadLetter

_PARAMS_WIDTH, _CODE_WIDTH = 100, 60
_MOST_KINDS = 20

#: Result, code and account: what letters are counted by.
Kind = tuple[str, str, str]


def letter_json(letter: DeadLetter) -> str:
    """Return everything of a letter as one line of JSON, in ASCII."""
    derived = {"result": letter.result, "code": letter.code, "reason": letter.reason}
    return json.dumps(letter.model_dump(mode="json") | derived)


def table(letters: Sequence[DeadLetter]) -> Iterator[str]:
    """Yield an aligned line for each letter: when, result, code, account, operation, parameters, id."""
    return aligned(
        [
            f"{letter.died_at:%Y-%m-%dT%H:%M:%SZ}",
            result_of(letter),
            _clip(letter.code or "-", _CODE_WIDTH),
            letter.account,
            letter.operation,
            _clip(_parameters(letter), _PARAMS_WIDTH),
            letter.id,
        ]
        for letter in letters
    )


def letters(count: int) -> str:
    """Return a number of letters in words."""
    return number(count, "dead letter")


def aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a line for each row, fit for a terminal, with every column as wide as its widest cell."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(" ")


def kind_of(letter: DeadLetter) -> Kind:
    """Return what the letter is counted by."""
    return result_of(letter), _clip(letter.code or "-", _CODE_WIDTH), letter.account


def result_of(letter: DeadLetter) -> str:
    """Return how the job ended, in a word."""
    return UNREADABLE if letter.result is None else letter.result.value


def summary(kinds: "Counter[Kind]") -> Iterator[str]:
    """Yield how many letters there are of each kind, the most first."""
    shown = kinds.most_common(_MOST_KINDS)
    yield from aligned([f"{count:6}", *kind] for kind, count in shown)
    if len(shown) < len(kinds):
        yield f"     … and {number(len(kinds) - len(shown), 'more kind')}"


def page(letter: DeadLetter) -> Iterator[str]:
    """Yield everything that is known of a letter, a fact a line."""
    facts = {"dead letter": letter.id, "died at": letter.died_at.isoformat(), "result": result_of(letter)}
    facts |= {"account": letter.account, "operation": letter.operation}
    if letter.room is not None:
        facts["room"] = letter.room
    outcome = letter.outcome
    if outcome is not None:
        for name in ("code", "message", "request_id", "attempts", "calls", "enqueued_at", "ended_at"):
            value = getattr(outcome, name)
            if value is not None:
                facts[name.replace("_", " ")] = value.isoformat() if name.endswith("_at") else str(value)
        for name in ("status", "reply"):
            if getattr(outcome, name) is not None:
                facts[name] = json.dumps(outcome.model_dump(mode="json")[name], ensure_ascii=False)
    else:
        facts["message"] = letter.reason
    facts["command"] = "none: it cannot be requeued" if letter.command is None else _json(letter.command)
    if letter.message is not None:
        facts["raw text"] = letter.message
    width = max(map(len, facts))
    for name, fact in facts.items():
        yield printable(f"{name.ljust(width)}  {fact}")


def _parameters(letter: DeadLetter) -> str:
    params = None if letter.outcome is None else letter.outcome.params
    if params is None:
        params = (letter.command or {}).get("params")
    if isinstance(params, Mapping):
        return " ".join(f"{name}={value}" for name, value in params.items()) or "-"
    return letter.message or "-" if params is None else _json(params)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
