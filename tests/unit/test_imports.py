"""What the producers' side imports: no Celery, although it is installed here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HELP = """
from streamstop.cli import main
try:
    main(["--help"])
except SystemExit as end:
    assert not end.code
"""
OPEN = """
from streamstop import Client
Client("redis://127.0.0.1:1").close()
"""


@pytest.mark.parametrize("program", ["import streamstop, streamstop.testing", OPEN, HELP], ids=["api", "client", "cli"])
def test_a_producer_imports_no_celery(program: str) -> None:
    check = "import sys; sys.exit(str({'celery', 'kombu', 'streamstop'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", f"{program}\n{check}"], check=False, capture_output=True, text=True)
    assert ran.stderr.splitlines()[-1] == "{'streamstop'}", ran.stderr


@pytest.mark.parametrize("missing", ["httpx", "aiohttp", "structlog"])
def test_a_worker_without_its_extra_says_in_one_line_what_to_install(missing: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "celery", "-A", "streamstop_worker", "worker"]
    environ = {**os.environ, "PYTHONPATH": path}
    ran = subprocess.run(command, check=False, capture_output=True, text=True, env=environ, cwd=tmp_path)
    said = f"streamstop: {missing} is not installed: workers need pip install 'streamstop[worker]'\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", said)
