"""What ``streamstop find`` prints, without I/O."""

from streamstop._core.sightings import Sighting, Where
from streamstop.cli._shared.output import clip, moment_text, params_text, printable

_WHERE_WIDTH, _DETAIL_WIDTH = max(len(where.value) for where in Where), len("already_stopped")


def sighting_lines(sighting: Sighting, width: int | None = None) -> list[str]:
    """Return one line: where, the result or the place, the moment, the job's id or the room, and the parameters.

    If `width` is too narrow for that, the id or the room is on a line of its own. An id is never cut, because other
    commands take it.
    """
    if sighting.result is not None:
        detail = sighting.result.value
    elif sighting.place is not None:
        detail = f"place {sighting.place}"
    else:
        detail = ""
    at = "" if sighting.at is None else moment_text(sighting.at)
    cells = [sighting.where.value.ljust(_WHERE_WIDTH), detail.ljust(_DETAIL_WIDTH), at.ljust(20)]
    what = sighting.job_id or f"{sighting.account}.{sighting.operation} in room {sighting.room}"
    params = params_text(sighting.params)
    line = _line(*cells, what, params)
    if width is None or len(line) <= width:
        return [line]
    return [clip(_line(*cells, params), width), printable(f"  {what}")]


def _line(*cells: str) -> str:
    return printable("  ".join(cells)).rstrip(" ")
