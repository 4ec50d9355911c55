"""Sending to any address gives a response or a fault, and no other exception."""

import asyncio
import contextlib
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
from hypothesis import example, given
from hypothesis import strategies as st

from streamstop._core.membership import check_callback
from streamstop.errors import InvalidCommand
from streamstop_worker.transport import Transport, TransportFault
from streamstop_worker.vendors.protocol import Request

TRANSPORT = Transport(timedelta(seconds=1), 1, httpx.MockTransport(lambda _request: httpx.Response(204)))


@given(st.text() | st.text("https:/[]@.%:\\\x00\ud800é0123456789"))
@example("//[::1")
@example("//h:99999")
@example("//a b\x7f/")
@example("//\ud800/")
@example("//xn--a/")
@example("//" + "a" * 300)
def test_no_callback_address_raises_an_unexpected_exception(rest: str) -> None:
    url = f"https:{rest}"
    with contextlib.suppress(InvalidCommand, TransportFault):
        check_callback(url)
        headers = {"host": urlsplit(url).netloc, "content-type": "application/json"}
        assert asyncio.run(TRANSPORT.send(Request("POST", url, headers, b"{}"))).status == 204
