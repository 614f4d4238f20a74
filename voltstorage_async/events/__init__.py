"""voltstorage_async/events."""
