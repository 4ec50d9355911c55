"""Dead letters: what ended so that a person must look, kept until it is requeued or dropped."""

from streamstop.dead.letters import DeadLetter, Matching, letter_of
from streamstop.dead.store import Letters

__all__ = ["DeadLetter", "Letters", "Matching", "letter_of"]
