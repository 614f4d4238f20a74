"""Output of `demo` and `watch`: JSON lines or a live table."""
