"""Several processes of one HTTP service, which their parent watches."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.http_service import http_service
from tests.support.polling import eventually

#: Longer than uvicorn waits for a process unless it is told otherwise.
_STILL_S = 6


@pytest.mark.long
def test_a_process_that_stands_still_for_seconds_is_not_replaced(redis_url: str, tmp_path: Path) -> None:
    with http_service(redis_url, tmp_path, "--processes", "2") as service:
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
        eventually(lambda: service.text().count("Application startup complete") == 2, "both serve")
        serving = children.read_text()
        still = int(serving.split()[-1])
        os.kill(still, signal.SIGSTOP)
        try:
            time.sleep(_STILL_S)
        finally:
            os.kill(still, signal.SIGCONT)
        # The parent passes the signal on between two looks at its processes.
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: service.text().count("tokens loaded") == 2, "both read the file")
        assert children.read_text() == serving
