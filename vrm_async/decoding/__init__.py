"""vrm_async/decoding."""
