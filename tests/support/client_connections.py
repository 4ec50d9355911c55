"""What lies below a client, for tests that look into Redis by the same means."""

from streamstop import Client
from streamstop._redis.backend import RedisBackend
from streamstop._redis.connections import Connections


def connections(client: Client) -> Connections:
    """Return the connections of a real client."""
    assert isinstance(client._backend, RedisBackend)
    return client._backend.connections
