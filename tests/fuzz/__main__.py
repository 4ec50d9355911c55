"""Fuzz the parsers of outside data, guided by branch coverage.

::

    python -m tests.fuzz                            # every target, ten seconds each
    python -m tests.fuzz accounts --seconds 600
    python -m tests.fuzz accounts --input FILE      # once, on what an earlier run found

``corpus/<target>/`` holds seed inputs, and inputs whose failures are fixed. A new failing input is written next to the
report. Move it into the corpus when its failure is fixed.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import click

try:
    import atheris
except ImportError:  # it has wheels only for Linux on x86-64
    atheris = None

if atheris is None:
    from tests.fuzz.targets import TARGETS
else:
    with atheris.instrument_imports(include=["streamstop", "streamstop_worker", "tests.fuzz"]):
        from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
TOKENS = Path(__file__).parent / "tokens.dict"
#: The longest input in bytes. Longer inputs are slow and find no more failures.
_LONGEST = 4096


@click.command()
@click.argument("targets", nargs=-1, type=click.Choice(list(TARGETS)))
@click.option("--seconds", type=int, default=10, show_default=True, help="For each target.")
@click.option("--runs", type=int, help="As many runs for each target, in whatever time.")
@click.option("--input", "file", type=click.Path(path_type=Path, exists=True), help="Run this input alone.")
def main(targets: tuple[str, ...], seconds: int, runs: int | None, file: Path | None) -> None:
    """Fuzz TARGETS, or all of them. Exit with 1 if one has failed."""
    failed = []
    for target in targets or TARGETS:
        seeds = [file] if file is not None else sorted((CORPUS / target).iterdir())
        for seed in seeds:
            TARGETS[target](seed.read_bytes())
        click.echo(f"{target}: {len(seeds)} inputs of the corpus are well", err=True)
        if atheris is not None and file is None and not _fuzzed(target, seconds, runs):
            failed.append(target)
    if atheris is None:
        click.echo("no more than that: atheris is not installed", err=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _fuzzed(target: str, seconds: int, runs: int | None) -> bool:
    """Fuzz in a separate process, because libFuzzer ends its process; return whether it found nothing."""
    child = os.fork()
    if child == 0:
        _fuzz(target, seconds, runs)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def _fuzz(target: str, seconds: int, runs: int | None) -> NoReturn:
    found = Path(tempfile.mkdtemp(prefix=f"fuzz-{target}-"))
    bound = f"-max_total_time={seconds}" if runs is None else f"-runs={runs}"
    options = [
        bound,
        f"-dict={TOKENS}",
        f"-max_len={_LONGEST}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={found}/",
    ]
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", str(found), str(CORPUS / target)], TARGETS[target])
    atheris.Fuzz()
    os._exit(0)


if __name__ == "__main__":
    main()
