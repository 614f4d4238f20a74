"""energy_live/simulator/household."""
