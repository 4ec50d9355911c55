"""The connections of a client, for tests that read Redis over them."""

from streamstop import Client
from streamstop._redis.backend import RedisBackend
from streamstop._redis.connections import Connections


def connections_of(client: Client) -> Connections:
    """Return the connections of a real client."""
    assert isinstance(client._backend, RedisBackend)
    return client._backend.connections
