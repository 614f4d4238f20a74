"""Asking a vendor: from an operation and its arguments to a value, politely, and never to the wrong place."""
