"""The HTTP service as a person would start it: ``streamstop-server``, on a free port, with tokens for each scope."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from streamstop.tokens import new_token, token_hash
from streamstop_simulator.child_process import end
from streamstop_simulator.demo.embedded_redis import free_port
from tests.support.polling import eventually

#: A grace far longer than anything takes at the end of a service: what ends before it has not waited for it.
LONG_GRACE: Mapping[str, str] = {"STREAMSTOP_SERVER_GRACE": "120"}
#: Tokens of every service of tests: names, scopes, and accounts (None: all).
TOKENS: Mapping[str, tuple[Sequence[str], Sequence[str] | None]] = {
    "everything": (("enqueue", "read", "operate"), None),
    "enqueuer": (("enqueue",), None),
    "reader": (("read",), None),
    "operator": (("read", "operate"), None),
    "elsewhere": (("enqueue", "read", "operate"), ["another-account"]),
}


def tokens_toml(tokens: Mapping[str, str], kinds: Mapping[str, tuple[Sequence[str], Sequence[str] | None]]) -> str:
    """Return a tokens file: for each name, the hash of its token, its scopes and accounts."""
    lines: list[str] = []
    for name, (scopes, accounts) in kinds.items():
        lines += [f"[tokens.{name}]", f'hash = "{token_hash(tokens[name])}"', f"scopes = {list(scopes)!r}"]
        if accounts is not None:
            lines.append(f"accounts = {list(accounts)!r}")
    return "\n".join(lines) + "\n"


@dataclass
class HttpService:
    """A running service."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    tokens_file: Path | None
    #: A token for each name of :data:`TOKENS`.
    tokens: Mapping[str, str] = field(repr=False, default_factory=dict)

    def text(self) -> str:
        """Everything that it wrote."""
        return self.log.read_text(errors="replace")

    def http(self, token: str | None = "everything") -> httpx.Client:
        """Return an HTTP client with the token of this name. It waits longer than a long poll can take."""
        headers = {"Authorization": f"Bearer {self.tokens[token]}"} if token and self.tokens else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=90)


@contextmanager
def http_service(
    redis_url: str,
    folder: Path,
    *arguments: str,
    with_tokens: bool = True,
    environ: Mapping[str, str] | None = None,
    port: int | None = None,
) -> Iterator[HttpService]:
    """Start the service, wait until it is ready, and end it."""
    port = port or free_port()
    tokens = {name: new_token() for name in TOKENS}
    file = folder / f"tokens-{port}.toml"
    log = folder / f"server-{port}.log"
    if with_tokens:
        file.write_text(tokens_toml(tokens, TOKENS))
        file.chmod(0o600)
        arguments = ("--tokens", str(file), *arguments)
    command = [sys.executable, "-m", "streamstop_server", "--port", str(port), *arguments]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMSTOP_")}
    surroundings = {**inherited, "STREAMSTOP_REDIS_URL": redis_url, **(environ or {})}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=surroundings)
    url = f"http://127.0.0.1:{port}"
    service = HttpService(process, url, log, file if with_tokens else None, tokens if with_tokens else {})
    try:
        with httpx.Client(base_url=url) as probe:

            def answers() -> bool:
                assert process.poll() is None, service.text()
                with suppress(httpx.TransportError):
                    return probe.get("/healthz").status_code == httpx.codes.OK
                return False

            eventually(answers, "the service answers")
        yield service
    finally:
        end(process, within_s=40)
