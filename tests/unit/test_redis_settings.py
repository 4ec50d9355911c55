"""Redis' url: its valid forms, and that Celery never shows its password."""

import contextlib
import traceback
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker.consumer.connection import Connection as ConnectionStep
from hypothesis import given
from hypothesis import strategies as st

from streamstop import Client
from streamstop._redis.pool import open_redis
from streamstop.errors import InvalidSettings
from streamstop.settings import RedisSettings, RoomSettings, outcomes_kept
from streamstop_worker.settings import celery_options

PASSWORD = "hush-hush"
MASTER = ("STREAMSTOP_REDIS_MASTER", "mymaster")


def settings(url: str) -> RedisSettings:
    return RedisSettings.from_environ({"STREAMSTOP_REDIS_URL": url, **dict([MASTER])})


def told_by_celery(url: str) -> list[str]:
    """Return what `celery inspect conf`, `report` and `stats` tell whoever asks, and what Celery logs."""
    app = Celery("test", set_as_current=False)
    app.conf.update(celery_options(settings(url)))
    connection = app.connection_for_read()
    stats = ConnectionStep.info(None, SimpleNamespace(connection=connection))  # type: ignore[arg-type]
    shown = [app.conf.table(with_defaults=True, censored=True), app.bugreport(), stats, connection, connection.as_uri()]
    backend: Any = app.backend
    return [str(one) for one in [*shown, backend.as_uri(), backend.client]]


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{PASSWORD}@h:1/0",
        f"redis://user:{PASSWORD}@h:1/0",
        f"rediss://:{PASSWORD}@h:1/0?ssl_cert_reqs=required",
        f"sentinel://:{PASSWORD}@h1:1;sentinel://:{PASSWORD}@h2:2;sentinel://u:{PASSWORD}@h3:3",
    ],
)
def test_celery_shows_the_password_nowhere(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*MASTER)
    for text in told_by_celery(url):
        assert PASSWORD not in text
    assert PASSWORD not in repr(settings(url))
    assert PASSWORD not in repr(open_redis(settings(url)))
    assert PASSWORD not in repr(Client(url))


@pytest.mark.parametrize(
    "url",
    [
        f"redis://h:1/0?password={PASSWORD}",
        f"redis://h:1/0?username={PASSWORD}",
        f"rediss://h:1/0?ssl_password={PASSWORD}",
        f"redis://{PASSWORD}@h:1/0",
        f"redis://{PASSWORD}:@h:1/0",
        f"sentinel://h:1;sentinel://{PASSWORD}@h:2",
    ],
)
def test_a_password_where_celery_would_show_it_is_a_mistake(url: str) -> None:
    with pytest.raises(InvalidSettings, match=r"must have a password only as in .+://:password@host") as raised:
        settings(url)
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))


@given(st.text())
def test_any_text_is_a_url_or_a_mistake(text: str) -> None:
    for url in (text, f"redis://{text}", f"rediss://{text}", f"sentinel://{text}"):
        try:
            made = settings(url)
        except InvalidSettings:
            continue
        assert celery_options(made)["broker_url"]
        repr(made)
        with contextlib.suppress(InvalidSettings):
            assert open_redis(made).connection_pool.connection_kwargs["socket_keepalive"] is not None


@given(st.text(), st.text())
def test_any_text_is_a_number_of_seconds_or_a_mistake(timeout: str, keep_outcomes: str) -> None:
    with contextlib.suppress(InvalidSettings):
        assert RedisSettings.from_environ({"STREAMSTOP_REDIS_TIMEOUT": timeout}).timeout >= timedelta(0)
    with contextlib.suppress(InvalidSettings):
        assert RoomSettings.from_environ({"STREAMSTOP_ROOM_KEPT": keep_outcomes}).kept >= timedelta(0)
    with contextlib.suppress(InvalidSettings):
        assert outcomes_kept({"STREAMSTOP_OUTCOMES_KEPT": keep_outcomes}) >= timedelta(seconds=1)


def test_outcomes_are_kept_for_a_day_by_default() -> None:
    assert outcomes_kept({}) == outcomes_kept({"STREAMSTOP_OUTCOMES_KEPT": ""}) == timedelta(days=1)
    assert outcomes_kept({"STREAMSTOP_OUTCOMES_KEPT": "604800"}) == timedelta(days=7)


@pytest.mark.parametrize(("text", "kept_s"), [("5", 5), ("0.2", 1), ("1e-9", 1), ("2.5", 3), ("1e8", 10**8)])
def test_outcomes_are_kept_for_whole_seconds_and_at_least_one(text: str, kept_s: int) -> None:
    assert outcomes_kept({"STREAMSTOP_OUTCOMES_KEPT": text}) == timedelta(seconds=kept_s)


@pytest.mark.parametrize("text", ["0", "-1", "a day", "nan", "inf", "1e9"])
def test_an_invalid_time_to_keep_outcomes_is_a_mistake_that_names_the_variable(text: str) -> None:
    with pytest.raises(InvalidSettings, match="STREAMSTOP_OUTCOMES_KEPT must be a positive number of seconds"):
        outcomes_kept({"STREAMSTOP_OUTCOMES_KEPT": text})
