"""Credentials in the accounts file: the text itself, or a reference to an environment variable or a file.

An error's text never repeats a value that may be the credential, which somebody may have written in the place of a
variable's or a file's name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

import structlog
from pydantic import BeforeValidator, ValidationInfo

from streamstop._core import private_files

_log = structlog.get_logger("streamstop")


ALLOWED = '"…", { env = "VARIABLE" } or { file = "/path" }'
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Names that look like a variable's. Messages repeat these alone.
_USUAL_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
#: Far longer than any credential. Reading stops here, so that a path such as /dev/zero ends too.
_LONGEST = 16_384


@dataclass(frozen=True)
class Sources:
    """What references lead to: the validation context of :data:`Credential`."""

    #: Paths of secret files are relative to this folder.
    folder: Path
    environ: Mapping[str, str] = field(repr=False)

    def variable(self, name: str) -> str:
        """Return the value of an environment variable."""
        if not _VARIABLE.fullmatch(name):
            raise ValueError("env must be the name of an environment variable: letters, digits and _")
        if name not in self.environ:
            shown = name if _USUAL_VARIABLE.fullmatch(name) else "that it names"
            raise ValueError(f"the environment variable {shown} is not set")
        return self.environ[name]

    def file(self, name: str) -> str:
        """Return the content of a file without the line break at its end. Warns if other users can read the file."""
        path = self.folder / name
        try:
            content, legible = private_files.read(path, _LONGEST + 1)
            text = content.decode().rstrip("\r\n")
        except OSError as error:
            shown = path if "/" in name else "that it names"
            raise ValueError(f"the file {shown} cannot be read: {error.strerror}") from None
        except private_files.Unsafe as unsafe:
            raise ValueError(f"the file {path} {unsafe}") from None
        except ValueError:  # not UTF-8, or a NUL in the path
            raise ValueError("file must be the path of a text file") from None
        if len(content) > _LONGEST:
            raise ValueError(f"the file {path} is too long for a credential")
        if legible:
            warn_of_readers(path)
        return text


def _resolve(value: object, info: ValidationInfo) -> str:
    sources = cast("Sources", info.context)
    match value:
        case str():
            secret, holder = value, ""
        case {"env": str(variable), **others} if not others:
            secret, holder = sources.variable(variable), f"the environment variable {variable} "
        case {"file": str(file), **others} if not others:
            secret, holder = sources.file(file), f"the file {file} "
        case _:
            raise ValueError(f"must be {ALLOWED}")
    if not secret:
        raise ValueError(f"{holder}is empty")
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise ValueError(f"{holder}must hold printable ASCII characters only, without spaces")
    return secret


#: A credential. Validation resolves the reference; it needs :class:`Sources` as its context.
Credential = Annotated[str, BeforeValidator(_resolve)]


def warn_of_readers(path: Path) -> None:
    """Log that other users can read the credentials in a file."""
    _log.warning("other users can read credentials", file=str(path), do=f"chmod 600 {path}")
