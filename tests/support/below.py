"""What lies below a client, for tests that look into Redis by the same means."""

from streamstop import Client
from streamstop.connections import Connections
from streamstop.redis_backend import RedisBackend


def connections(client: Client) -> Connections:
    """Return the connections of a real client."""
    assert isinstance(client._backend, RedisBackend)
    return client._backend.connections
