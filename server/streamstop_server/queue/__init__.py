"""The queue, as routes and screens get it."""
