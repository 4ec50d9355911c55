"""Batches: what is too much for one command of Redis, staged in pieces and then accepted by one small step."""

from streamstop._redis.constants import STAGED
from streamstop.batches.batches import PIECE, Batches
from streamstop.batches.staging import entry_of, stage_pairs

__all__ = ["PIECE", "STAGED", "Batches", "entry_of", "stage_pairs"]
