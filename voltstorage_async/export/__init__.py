"""voltstorage_async/export."""
