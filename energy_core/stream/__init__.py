"""Event streams: what an event is, sources that poll or listen, and `merge`, which makes one stream of many.

A reading goes from a source to its `SourceTask` (supervision), to each consumer's `Line` (numbers, holes, repeats)
and `Buffer` (policy), and out by a `Consumer`; `Progress` notes what was consumed. pyproject.toml has layers.
Nothing is imported here, so that a program that only polls never loads the WebSocket library.
"""
