"""The relay and the live page: a merged stream over HTTP, WebSocket and server-sent events."""
