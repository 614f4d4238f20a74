"""Event streams: what an event is, sources that poll or listen, and `merge`, which joins many sources.

A source delivers readings into its `SourceOutlet` (validation), which passes them to the `Subscriber` of each
consumer (numbers, duplicates, refills) and its `Buffer` (overflow policy). A `Consumer` takes events out, and
`CommitTracker` keeps track of what is consumed. pyproject.toml lists the layers.

Nothing is imported here, so that a program that only polls never loads the WebSocket library.
"""
