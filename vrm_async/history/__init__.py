"""vrm_async/history."""
