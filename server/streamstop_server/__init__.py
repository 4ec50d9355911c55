"""The HTTP service: an API for services in any language, and a page for people.

It stands on :class:`streamstop.AsyncClient` alone. It needs the extra ``server``.
"""
