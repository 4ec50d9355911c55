"""The queue, as routes get it: the process' one client."""

from typing import Annotated

from fastapi import Depends, Request

from streamstop import AsyncClient


async def client_of(request: Request) -> AsyncClient:
    """Return the client of this process."""
    found: AsyncClient = request.app.state.client
    return found


#: The process' client, as a parameter of a route.
Queue = Annotated[AsyncClient, Depends(client_of)]
