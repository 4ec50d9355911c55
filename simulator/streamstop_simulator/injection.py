"""What a fault makes of an answer. The call was judged before; here only its answer changes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from streamstop_simulator.aliyun import Aliyun
from streamstop_simulator.faults import Fault, FaultKind
from streamstop_simulator.tencent import Tencent
from streamstop_simulator.wire import Answer, Refusal, Spoil

_HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body>\r\n</html>\r\n"
_ERRORS: Mapping[FaultKind, tuple[str, str, int | None]] = {
    FaultKind.ERROR_500: ("InternalError", "An internal error has occurred.", 500),
    FaultKind.ERROR_503: ("ServiceUnavailable", "The request has failed due to a temporary failure.", 503),
    FaultKind.CODE: ("InternalError", "The simulator was told to say so.", None),
}


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, and what the journal calls it: ``ok``, the vendor's code, or the fault's kind."""

    word: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Teller:
    """Words one call's answers as its vendor does."""

    dialect: Aliyun | Tencent
    request_id: str
    #: The host that was called.
    host: str

    def refuse(self, refusal: Refusal) -> Said:
        """Return an error."""
        return Said(refusal.code, self.dialect.refuse(refusal, self.request_id, self.host))

    def spoil(self, fault: Fault, said: Said) -> Said:
        """Return what `fault` makes of an answer."""
        delayed = replace(said.answer, delay_ms=said.answer.delay_ms + fault.latency_ms)
        match fault.fault:
            case FaultKind.LATENCY:
                return Said(said.word, delayed)
            case FaultKind.RESET | FaultKind.HALF_BODY | FaultKind.HANG:
                return Said(fault.fault, replace(delayed, spoil=Spoil(fault.fault.value)))
            case _:
                instead = self._instead(fault)
                return Said(instead.word, replace(instead.answer, delay_ms=delayed.delay_ms))

    def _instead(self, fault: Fault) -> Said:
        match fault.fault:
            case FaultKind.HTML:
                return Said(fault.fault, Answer(fault.status or 502, "text/html", _HTML))
            case FaultKind.REPLY:
                fields = fault.reply or {}
                return Said(fault.fault, self.dialect.reply(fields, self.request_id, fault.status or 200))
            case FaultKind.THROTTLE:
                return self.refuse(self.dialect.throttled(fault.retry_after_ms))
            case kind:
                code, message, status = _ERRORS[kind]
                return self.refuse(Refusal(fault.code or code, fault.message or message, fault.status or status))
