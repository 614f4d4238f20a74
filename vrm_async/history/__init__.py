"""History of any length, read in chunks that keep inside VRM's limits for one request."""
