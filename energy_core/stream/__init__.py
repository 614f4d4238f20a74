"""Event streams: what an event is, sources that poll or listen, and `merge`, which makes one stream of many.

A source hands its readings to its `SourceTask` (supervision), which hands them to the `Subscriber` of each
consumer (sequence numbers, gaps, duplicates) and its `Buffer` (policy). A `Consumer` takes them out, and
`CommitTracker` keeps what was consumed. pyproject.toml has the layers.

Nothing is imported here, so that a program that only polls never loads the WebSocket library.
"""
