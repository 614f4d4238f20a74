"""Event streams: what an event is, sources that poll or listen, and `merge`, which makes one stream of many.

Imports go down: merge; feed, poll and socket; buffer, reconnect and pulse; state and timing; event.
Nothing is imported here, so that a program that only polls never loads the WebSocket library.
"""
