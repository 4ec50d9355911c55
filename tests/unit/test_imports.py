"""What the producers' side imports: no Celery, although it is installed here."""

import subprocess
import sys

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
