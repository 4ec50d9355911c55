"""Scripts: runs the Lua scripts of :mod:`streamstop._redis.assembly` with arguments by name."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from streamstop._redis.assembly import Assembled

_ERROR_LINE = re.compile(r"user_script:(\d+)")


class Script:
    """A callable script; its arguments are passed by keyword.

    With a pipeline as `client`, the script runs when the pipeline is executed. A script builds the names of its keys
    itself. For `keys` that are passed, Redis checks the user's permission before the script begins.
    """

    def __init__(self, redis: Redis, assembled: "Assembled", keys: Sequence[str] = ()) -> None:
        self._assembled = assembled
        self._keys = keys
        self._registered: Any = redis.register_script(assembled.text)

    def __call__(self, *, client: Any = None, keys: Sequence[str] = (), **arguments: Any) -> Any:
        """Run the script. Raises redis-py's errors, and TypeError if the arguments differ from its declaration."""
        try:
            values = self._assembled.arguments.values(arguments)
        except TypeError as error:
            raise TypeError(f"script {self._assembled.name}: {error}") from None
        try:
            return self._registered(keys=[*self._keys, *keys], args=values, client=client)
        except ResponseError as error:
            if found := _ERROR_LINE.search(str(error)):
                error.add_note(f"at {self._assembled.locate(int(found[1]))}")
            raise


def load(redis: Redis, folder: str, keys: Sequence[str] = ()) -> dict[str, Script]:
    """Return the scripts of a folder of ``lua/`` by name. Each call of one passes `keys`."""
    from streamstop._redis.assembly import assemble, names  # a client that runs no script does not need it

    return {name.rpartition("/")[2]: Script(redis, assemble(name), keys) for name in names(folder)}
