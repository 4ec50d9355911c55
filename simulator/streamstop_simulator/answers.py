"""Builds the answer to a call: a vendor's error, or what an injected fault puts in place of the answer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from streamstop_simulator.aliyun import Aliyun
from streamstop_simulator.faults import Fault, FaultKind
from streamstop_simulator.messages import Answer, TransportFault, VendorError
from streamstop_simulator.tencent import Tencent

_HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body>\r\n</html>\r\n"
_ERRORS: Mapping[FaultKind, tuple[str, str, int | None]] = {
    FaultKind.ERROR_500: ("InternalError", "An internal error has occurred.", 500),
    FaultKind.ERROR_503: ("ServiceUnavailable", "The request has failed due to a temporary failure.", 503),
    FaultKind.CODE: ("InternalError", "An error that was injected into the simulator.", None),
}


@dataclass(frozen=True, slots=True)
class NamedAnswer:
    """An answer, and its name in the journal: ``ok``, the vendor's code, or the kind of fault."""

    name: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class AnswerBuilder:
    """Builds the answers to one call, in the format of its vendor."""

    dialect: Aliyun | Tencent
    request_id: str
    #: The call's Host header.
    host: str

    def error(self, error: VendorError) -> NamedAnswer:
        """Return the answer for an error."""
        return NamedAnswer(error.code, self.dialect.error(error, self.request_id, self.host))

    def with_fault(self, fault: Fault, original: NamedAnswer) -> NamedAnswer:
        """Return `original` as `fault` changes it."""
        delayed = replace(original.answer, delay_ms=original.answer.delay_ms + fault.latency_ms)
        match fault.fault:
            case FaultKind.LATENCY:
                return NamedAnswer(original.name, delayed)
            case FaultKind.RESET | FaultKind.HALF_BODY | FaultKind.HANG:
                return NamedAnswer(fault.fault, replace(delayed, transport_fault=TransportFault(fault.fault.value)))
            case _:
                injected = self._injected(fault)
                return NamedAnswer(injected.name, replace(injected.answer, delay_ms=delayed.delay_ms))

    def _injected(self, fault: Fault) -> NamedAnswer:
        match fault.fault:
            case FaultKind.HTML:
                return NamedAnswer(fault.fault, Answer(fault.status or 502, "text/html", _HTML))
            case FaultKind.REPLY:
                fields = fault.reply or {}
                return NamedAnswer(fault.fault, self.dialect.reply(fields, self.request_id, fault.status or 200))
            case FaultKind.THROTTLE:
                return self.error(self.dialect.throttled(fault.retry_after_ms))
            case kind:
                code, message, status = _ERRORS[kind]
                return self.error(VendorError(fault.code or code, fault.message or message, fault.status or status))
