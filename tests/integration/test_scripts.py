"""Scripts on a real Redis: an error in a script names the file and the line."""

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from streamstop._redis.assembly import assemble_from
from streamstop._redis.scripts import Script

PART = "-- A part.\nlocal function fail(key)\n    return redis.call('LLEN', key) + {}\nend\n"


@pytest.mark.parametrize("value", [None, "of another type"])
def test_an_error_names_its_file(real_redis: Redis, value: str | None) -> None:
    files = {"lane/script": "--! include lib/part\n--! args key\n\nreturn fail(key)\n", "lib/part": PART}
    script = Script(real_redis, assemble_from("lane/script", files.__getitem__))
    if value is not None:
        real_redis.set("a", value)
    with pytest.raises(ResponseError) as raised:
        script(key="a")
    assert raised.value.__notes__ == ["at lib/part.lua:3"]
