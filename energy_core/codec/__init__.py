"""energy_core/codec."""
