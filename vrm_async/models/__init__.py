"""vrm_async/models."""
