"""Rooms: the registry of the stream tasks that end together, and the shutdowns that end them."""

from streamstop.rooms.membership import Follow, Membership, check_callback, check_room, task_of
from streamstop.rooms.progress import LaneProgress, Progress, ShutdownStatus
from streamstop.rooms.rooms import CALLBACKS, CONTROL, CONTROL_PACE, Entry, Rooms, RoomView, shutdown_channel

__all__ = [
    "CALLBACKS",
    "CONTROL",
    "CONTROL_PACE",
    "Entry",
    "Follow",
    "LaneProgress",
    "Membership",
    "Progress",
    "RoomView",
    "Rooms",
    "ShutdownStatus",
    "check_callback",
    "check_room",
    "shutdown_channel",
    "task_of",
]
