"""Sending requests to a vendor: client, pool, rate limiter, credential, retries, transport."""
