"""The internals of kombu and Celery that we rely on: an upgrade that changes one fails here and names it."""

import inspect
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, signals
from celery.app.task import Context, Task
from celery.concurrency.base import BasePool
from celery.worker import consumer, loops, request, state
from celery.worker.components import Pool as PoolStep
from kombu import Connection, Exchange, Queue
from kombu.asynchronous import Hub
from kombu.asynchronous.timer import Timer
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from redis import Redis

from streamstop._core.constants import WAKE
from streamstop._core.lane import QUEUE
from streamstop_worker.celery_parts.transport import Channel, SentinelChannel, SentinelTransport, Transport

OPTIONS = {"ack_emulation": False}


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (kombu_redis.Channel, ["_brpop_start", "_brpop_read", "close", "_put", "queue_purge", "client", "do_restore"]),
        (kombu_redis.Channel, ["_in_poll", "_brpop_sent_at", "ack_emulation", "active_queues", "_flush_brpop_reauth"]),
        (kombu_redis.SentinelChannel, ["_brpop_start", "_brpop_read", "close"]),
        (kombu_redis.Transport, ["Channel", "register_with_event_loop", "brpop_timeout"]),
        (virtual.Transport, ["_deliver"]),
        (virtual.QoS, ["can_consume", "ack"]),
        (Hub, ["add_reader", "call_later", "reset", "create_loop", "propagate_errors"]),
        (Timer, ["call_after", "cancel"]),
        (BasePool, ["on_start", "on_stop", "on_terminate", "on_apply", "terminate_job", "_get_info"]),
        (PoolStep, ["register_with_event_loop", "close", "terminate"]),
        (consumer.Consumer, ["create_task_handler", "ensure_connected", "cancel_active_requests"]),
        (request.Request, ["on_accepted", "acknowledge", "send_event", "execute_using_pool", "terminate", "info"]),
        (request.Request, ["_context", "acknowledged"]),
        (state, ["task_reserved", "task_accepted", "task_ready", "revoked", "should_terminate"]),
        (signals, [f"task_{name}" for name in ("prerun", "postrun", "success", "failure", "retry", "revoked")]),
        (signals, ["task_received", "worker_shutting_down", "worker_ready"]),
    ],
)
def test_overridden_and_called_names_exist(owner: Any, names: list[str]) -> None:
    # A few are set for each object: kombu's hub has propagate_errors, its transport brpop_timeout.
    missing = [name for name in names if not hasattr(owner, name) and name not in inspect.getsource(owner)]
    assert missing == [], f"{owner.__name__} has no {missing} any more"


def test_overridden_methods_have_the_parameters_that_we_expect() -> None:
    theirs: Any = kombu_redis.Channel
    assert parameters(theirs._brpop_start) == ["self", "timeout"]
    assert parameters(theirs._brpop_read) == ["self", "options"]
    assert parameters(virtual.Transport._deliver) == ["self", "message", "queue"]
    assert parameters(consumer.Consumer.create_task_handler)[0] == "self"
    assert parameters(consumer.Consumer.ensure_connected) == ["self", "conn"]
    assert parameters(loops.asynloop)[:6] == ["obj", "connection", "consumer", "blueprint", "hub", "qos"]
    assert parameters(request.Request.on_accepted) == ["self", "pid", "time_accepted"]
    assert parameters(Hub.call_later) == ["self", "delay", "callback", "args"]
    assert parameters(Hub.add_reader) == ["self", "fds", "callback", "args"]


def test_at_each_connection_the_intake_is_connected_then_the_mailbox_read_and_then_jobs_are_taken() -> None:
    source = inspect.getsource(loops.asynloop)
    handler, registered, consuming = (
        source.index(text)
        for text in ("obj.create_task_handler()", "obj.controller.register_with_event_loop(hub)", "consumer.consume()")
    )
    assert handler < registered < consuming
    assert "hub.reset()" in source, "timers stay, and readers go"


def fail() -> None:
    raise ValueError("a fault")


def _turn(hub: Hub) -> None:
    while True:
        hub.run_once()


def test_the_hub_ends_its_loop_over_what_a_reader_raises() -> None:
    hub, (bell, rung) = Hub(), socket.socketpair()
    hub.add_reader(rung, fail)
    bell.send(b"x")
    with pytest.raises(ValueError, match="a fault"):
        _turn(hub)
    hub.close()
    bell.close()
    rung.close()


def test_the_hub_goes_on_after_what_a_timer_raises_but_for_the_errors_of_the_connection() -> None:
    hub: Any = Hub()
    hub.call_later(0, fail)
    hub.run_once()
    hub.reset()
    hub.propagate_errors = (ValueError,)
    hub._loop = None
    hub.call_later(0, fail)
    with pytest.raises(ValueError, match="a fault"):
        hub.run_once()
    hub.close()


def test_a_reset_hub_keeps_its_timers() -> None:
    hub, fired = Hub(), list[int]()
    hub.call_later(0, lambda: fired.append(1))
    hub.reset()
    hub.run_once()
    hub.close()
    assert fired == [1]


def test_a_tasks_request_is_what_was_pushed_last() -> None:
    app = Celery("test", set_as_current=False)

    @app.task(name="t")
    def task() -> None: ...

    made: Any = app.tasks["t"]
    assert isinstance(made, Task)
    made.request_stack.push(Context(id="1"))
    assert made.request.id == "1"
    made.request_stack.pop()
    assert made.request.id is None


def test_our_channels_go_before_kombus() -> None:
    for ours, theirs in ((Channel, kombu_redis.Channel), (SentinelChannel, kombu_redis.SentinelChannel)):
        assert issubclass(ours, theirs)
        for name in ("_brpop_start", "_brpop_read", "close", "_put", "queue_purge"):
            assert getattr(ours, name) is not getattr(theirs, name)
    assert (Transport.Channel, SentinelTransport.Channel) == (Channel, SentinelChannel)


class Consuming:
    """A consumer of the one queue, over our transport, on a real Redis."""

    def __init__(self, url: str) -> None:
        self.connection: Any = Connection(url, transport=Transport, transport_options=OPTIONS)
        self.hub = Hub()
        self.messages: list[Any] = []
        transport: Any = self.connection.transport
        transport.register_with_event_loop(self.connection.connection, self.hub)
        channel: Any = self.connection.default_channel
        self.channel = channel
        self.consumer = self.connection.Consumer(
            [Queue(QUEUE, Exchange(""), routing_key=QUEUE)], on_message=self.messages.append
        )
        self.wakes = 0
        channel.on_wake = self._on_wake
        self.consumer.consume()

    def _on_wake(self) -> None:
        self.wakes += 1

    def close(self) -> None:
        self.connection.close()
        self.hub.close()


@pytest.fixture
def consuming(redis_url: str) -> Iterator[Consuming]:
    made = Consuming(redis_url)
    yield made
    made.close()


def test_a_consumer_waits_for_a_wake_and_takes_it(consuming: Consuming, real_redis: Redis) -> None:
    real_redis.lpush(WAKE, 1)
    while consuming.wakes == 0:
        consuming.hub.run_once()
    assert real_redis.llen(WAKE) == 0
    real_redis.lpush(WAKE, 1)
    while consuming.wakes == 1:
        consuming.hub.run_once()


class Token:
    """What a streaming credential provider gives each connection when the credentials change."""

    def try_get(self, _field: str) -> str:
        return "renewed"

    def get_value(self) -> str:
        return "secret"


def test_a_renewed_token_is_sent_between_two_waits_for_a_wake(consuming: Consuming, real_redis: Redis) -> None:
    while not consuming.channel._in_poll:
        consuming.hub.run_once()
    connection = consuming.channel.client.connection
    real_redis.acl_setuser("renewed", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"])
    try:
        connection.set_re_auth_token(Token())
        real_redis.lpush(WAKE, 1)
        while consuming.wakes == 0:
            consuming.hub.run_once()
        assert connection._re_auth_token is None
        real_redis.lpush(WAKE, 1)
        while consuming.wakes == 1:
            consuming.hub.run_once()
        assert consuming.channel.client.connection is connection
        users = {client["user"] for client in real_redis.client_list()}
        assert "renewed" in users
    finally:
        real_redis.acl_deluser("renewed")


def test_a_message_is_delivered_with_its_tag_and_leaves_nothing_in_redis(
    consuming: Consuming, real_redis: Redis
) -> None:
    before = set(real_redis.scan_iter())
    for tag in ("0", "1"):
        consuming.channel.deliver({"id": "x"}, tag)
    assert [message.delivery_tag for message in consuming.messages] == ["0", "1"]
    assert consuming.messages[0].headers == {"id": "x"}
    consuming.messages[0].ack()
    assert set(real_redis.scan_iter()) == before


def test_a_worker_takes_on_while_its_prefetch_count_is_not_used_up(consuming: Consuming, real_redis: Redis) -> None:
    consuming.consumer.qos(prefetch_count=2)
    for tag in ("0", "1"):
        assert consuming.channel.qos.can_consume()
        consuming.channel.deliver({}, tag)
    assert not consuming.channel.qos.can_consume()
    for message in consuming.messages:
        message.ack()
    assert consuming.channel.qos.can_consume()
    real_redis.lpush(WAKE, 1)
    while consuming.wakes == 0:
        consuming.hub.run_once()


def test_a_channel_says_whether_it_has_a_consumer(consuming: Consuming) -> None:
    assert consuming.channel.is_consuming
    consuming.consumer.cancel()
    assert not consuming.channel.is_consuming
    consuming.consumer.consume()
    assert consuming.channel.is_consuming
    consuming.connection.close()
    assert not consuming.channel.is_consuming


def test_a_channel_that_waits_for_a_wake_closes_without_one_and_restores_nothing(
    consuming: Consuming, real_redis: Redis
) -> None:
    while not consuming.channel._in_poll:
        consuming.hub.run_once()
    consuming.channel.deliver({}, "0")
    consuming.connection.close()
    assert real_redis.llen(QUEUE) == 0
    assert consuming.channel.do_restore is False


def test_a_message_of_a_channel_that_is_closed_may_still_be_acknowledged(consuming: Consuming) -> None:
    consuming.channel.deliver({}, "0")
    consuming.connection.close()
    consuming.messages[0].ack()
