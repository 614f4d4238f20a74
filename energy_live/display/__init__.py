"""energy_live/display."""
