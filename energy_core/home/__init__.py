"""energy_core/home."""
