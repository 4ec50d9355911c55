"""The container files, held to the compose specification's schema and to the settings.

No container engine runs where these tests do: nothing here builds the image or starts a service.
"""

import json
import re
import subprocess
import sys
from datetime import timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from streamstop.settings import RedisSettings
from streamstop_server.access.tokens import Scope, Tokens
from streamstop_server.settings import ServerSettings
from streamstop_simulator import DEFAULT_ACCOUNTS
from streamstop_worker.accounts import load_accounts
from streamstop_worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WORKERS = ("worker", "rehearsal")
SERVERS = ("server", "rehearsal-server")
START = "celery -A streamstop_worker worker"


def instructions(text: str) -> list[tuple[str, str]]:
    """Return a Dockerfile's instructions, each with its arguments."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


DOCKERFILE = instructions((ROOT / "Dockerfile").read_text())
_SECOND_STAGE = [word for word, _ in DOCKERFILE].index("FROM", 1)
BUILD, FINAL = DOCKERFILE[:_SECOND_STAGE], DOCKERFILE[_SECOND_STAGE:]


def check_schema(compose: Path) -> subprocess.CompletedProcess[str]:
    """Check a file by the compose specification's own schema, which the package check-jsonschema carries."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(compose)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_the_compose_file_keeps_to_the_specifications_schema() -> None:
    checked = check_schema(ROOT / "docker-compose.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("mistake", [("restart:", "restarts:"), ("cap_drop: [ALL]", "cap_drop: ALL")])
def test_the_schema_would_find_a_mistake_in_the_compose_file(mistake: tuple[str, str], tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text((ROOT / "docker-compose.yml").read_text().replace(*mistake))
    assert check_schema(wrong).returncode == 1


def test_without_a_profile_there_are_redis_and_a_worker_and_profiles_add_the_rest() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    assert profiles == {
        "redis": [],
        "worker": [],
        "simulator": ["demo"],
        "rehearsal": ["demo"],
        "server": ["server"],
        "rehearsal-server": ["demo"],
        **{name: ["monitoring"] for name in ("metrics", "prometheus", "grafana")},
    }


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_file_system_that_is_read_only_and_no_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service.get("user", "the image's") not in {"root", "0", "0:0"}


def test_redis_keeps_every_command_on_a_volume_and_drops_none() -> None:
    redis = SERVICES["redis"]
    program, *options = redis["command"]
    assert program == "redis-server"
    assert dict(zip(options[::2], options[1::2], strict=True)) == {
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--maxmemory-policy": "noeviction",
        "--save": "",
    }
    assert redis["volumes"] == ["redis:/data"]
    assert "redis" in COMPOSE["volumes"]
    assert redis["user"] == "redis", "as root its entry point would need the right to change users"
    assert redis["restart"] == SERVICES["worker"]["restart"] == "unless-stopped"
    assert redis["healthcheck"]["test"] == ["CMD", "redis-cli", "-e", "ping"]


@pytest.mark.parametrize("name", WORKERS)
def test_a_workers_calls_in_flight_end_before_it_is_killed(name: str) -> None:
    grace = re.fullmatch(r"([0-9]+)s", SERVICES[name]["stop_grace_period"])
    assert grace is not None
    assert timedelta(seconds=int(grace[1])) >= WorkerSettings.from_environ({}).lease + timedelta(seconds=10)
    assert SERVICES[name]["stop_signal"] == "SIGTERM"
    assert SERVICES[name]["init"] is True


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_reads_the_accounts_that_it_is_given_and_finds_redis(name: str) -> None:
    service = SERVICES[name]
    environ = service["environment"]
    (given,) = service["secrets"]
    source, target = (given, given) if isinstance(given, str) else (given["source"], given["target"])
    assert WorkerSettings.from_environ(environ).accounts == Path("/run/secrets") / target
    assert source in COMPOSE["secrets"]
    address = urlsplit(RedisSettings.from_environ(environ).url)
    assert (address.hostname, address.port) == ("redis", 6379)
    assert service["depends_on"]["redis"] == {"condition": "service_healthy"}
    assert set(environ) - {"STREAMSTOP_METRICS_PORT"} == {"STREAMSTOP_REDIS_URL", "STREAMSTOP_ACCOUNTS"}


def test_the_rehearsing_worker_and_the_real_one_have_databases_of_their_own() -> None:
    assert len({SERVICES[name]["environment"]["STREAMSTOP_REDIS_URL"] for name in WORKERS}) == len(WORKERS)


def test_the_rehearsing_worker_has_the_simulators_accounts_and_reaches_it_over_loopback() -> None:
    simulator, rehearsal = SERVICES["simulator"], SERVICES["rehearsal"]
    accounts = load_accounts(ROOT / COMPOSE["secrets"]["simulated-accounts"]["file"], {})
    keys = {(one.name, one.vendor, one.access_key_id, one.access_key_secret) for one in DEFAULT_ACCOUNTS}
    assert {(one.name, one.vendor, one.access_key_id, one.access_key_secret) for one in accounts.values()} == keys
    port = simulator["command"][simulator["command"].index("--port") + 1]
    assert {one.endpoint for one in accounts.values()} == {f"http://127.0.0.1:{port}"}
    assert rehearsal["network_mode"] == "service:simulator"
    assert rehearsal["depends_on"]["simulator"] == {"condition": "service_healthy"}
    assert f"http://127.0.0.1:{port}/" in simulator["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_reads_the_tokens_that_it_is_given_and_ends_before_it_is_killed(name: str) -> None:
    service = SERVICES[name]
    program, *options = service["command"]
    assert program == "streamstop-server"
    given = dict(zip(options[::2], options[1::2], strict=True))
    (secret,) = service["secrets"]
    source, target = (secret, secret) if isinstance(secret, str) else (secret["source"], secret["target"])
    assert given["--tokens"] == f"/run/secrets/{target}"
    assert source in COMPOSE["secrets"]
    settings = ServerSettings.from_environ(
        {"STREAMSTOP_SERVER_HOST": given["--host"], "STREAMSTOP_SERVER_TOKENS": given["--tokens"]}
    )
    grace = timedelta(seconds=int(service["stop_grace_period"].removesuffix("s")))
    assert grace > settings.grace
    assert f"http://127.0.0.1:{given['--port']}/readyz" in service["healthcheck"]["test"][-1]


def test_the_rehearsals_page_shows_the_rehearsals_queue_and_its_token_is_said() -> None:
    environs = {name: SERVICES[name]["environment"]["STREAMSTOP_REDIS_URL"] for name in (*WORKERS, *SERVERS)}
    assert environs["server"] == environs["worker"] != environs["rehearsal"] == environs["rehearsal-server"]
    tokens = Tokens(ROOT / COMPOSE["secrets"]["simulated-tokens"]["file"])
    (said,) = re.findall(r"^# (rehearsal-token\S+)\.$", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE)
    caller = tokens.caller_of(said)
    assert caller is not None
    assert caller.scopes == set(Scope)


def test_ports_are_published_on_loopback_alone() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(str(port).startswith("127.0.0.1:") for port in published)


def test_prometheus_scrapes_the_ports_on_which_metrics_are_served() -> None:
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    (exporter,) = scraped[0]["static_configs"][0]["targets"]
    assert exporter == f"metrics:{SERVICES['metrics']['command'][-1]}"
    (workers,) = scraped[1]["dns_sd_configs"]
    assert workers["names"] == ["worker"]
    assert WorkerSettings.from_environ(SERVICES["worker"]["environment"]).metrics_port == workers["port"]


def test_images_have_a_pinned_version_and_no_host() -> None:
    bases = [rest.split()[0] for word, rest in DOCKERFILE if word == "FROM"]
    named = [service["image"] for service in SERVICES.values() if "image" in service]
    for image in (*bases, *named):
        assert re.fullmatch(r"([a-z]+/)?[a-z]+:v?[0-9]+\.[0-9]+(-[a-z]+|\.[0-9]+)", image), image


def test_the_image_installs_only_locked_packages_and_the_project() -> None:
    installs = [rest for word, rest in BUILD if word == "RUN" and re.search(r"\bpip .*(install|wheel)\b", rest)]
    locked = [rest for rest in installs if "--require-hashes --only-binary :all: --requirement requirements/" in rest]
    assert len(locked) == 2
    assert all(" --no-deps " in rest for rest in installs if rest not in locked)


def test_the_image_holds_the_environment_alone() -> None:
    assert [rest for word, rest in FINAL if word in {"COPY", "ADD"}] == ["--from=build /app/.venv .venv"]
    assert not [rest for word, rest in FINAL if word == "RUN" and re.search(r"\b(apt|apt-get|pip|curl|wget)\b", rest)]
    workdirs = {rest for word, rest in DOCKERFILE if word == "WORKDIR"}
    assert workdirs == {"/app"}, "an environment works only where it was made"


def test_the_image_runs_as_a_user_who_is_not_root() -> None:
    (user,) = [rest for word, rest in FINAL if word == "USER"]
    uid, _, gid = user.partition(":")
    assert int(uid) > 0, "a number, so that an orchestrator can see that it is not root"
    assert int(gid) > 0
    assert any(word == "RUN" and f"useradd --uid {uid} " in rest for word, rest in FINAL)
    assert [word for word, _ in FINAL].index("USER") > max(n for n, (word, _) in enumerate(FINAL) if word == "RUN")


def test_the_image_starts_and_checks_a_worker_as_documented() -> None:
    (start,) = [rest for word, rest in FINAL if word == "CMD"]
    (check,) = [rest for word, rest in FINAL if word == "HEALTHCHECK"]
    assert " ".join(json.loads(start)) == START
    assert START in (ROOT / "worker/streamstop_worker/app.py").read_text()
    assert json.loads(check.partition(" CMD ")[2]) == ["python", "-m", "streamstop_worker.health"]
    for name in WORKERS:
        assert not {"command", "entrypoint", "healthcheck"} & SERVICES[name].keys(), "as the image does"


def test_the_engine_sees_what_the_image_is_made_of_and_no_credential() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*"
    copied = {name for word, rest in BUILD if word == "COPY" for name in rest.split()[:-1]}
    assert {pattern[1:] for pattern in patterns if pattern[0] == "!"} == copied
    assert not [name for name in copied if fnmatch("accounts.toml", name) or fnmatch(".env", name)]
