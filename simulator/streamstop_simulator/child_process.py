"""Ends a child process."""

import subprocess


def end(process: "subprocess.Popen[str] | subprocess.Popen[bytes]", within_s: float) -> None:
    """Terminate a process, and kill it if it has not ended `within_s` seconds later."""
    process.terminate()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
