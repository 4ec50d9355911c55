"""What ``streamstop find`` prints, without I/O."""

from streamstop._core.sightings import Sighting, Where
from streamstop.cli._shared.output import moment_text, params_text, printable

_WHERE_WIDTH, _DETAIL_WIDTH = max(len(where.value) for where in Where), len("already_stopped")


def sighting_line(sighting: Sighting) -> str:
    """Return one line: where, the result or the place, the moment, and the job's id or the room."""
    if sighting.result is not None:
        detail = sighting.result.value
    elif sighting.place is not None:
        detail = f"place {sighting.place}"
    else:
        detail = ""
    at = "" if sighting.at is None else moment_text(sighting.at)
    cells = [sighting.where.value.ljust(_WHERE_WIDTH), detail.ljust(_DETAIL_WIDTH), at.ljust(20)]
    if sighting.job_id is not None:
        cells.append(sighting.job_id)
    else:
        lane = f"{sighting.account}.{sighting.operation}"
        cells.append(f"{lane} in room {sighting.room}")
    return printable("  ".join([*cells, params_text(sighting.params)])).rstrip(" ")
