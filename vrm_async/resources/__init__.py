"""vrm_async/resources."""
