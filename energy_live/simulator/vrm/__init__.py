"""energy_live/simulator/vrm."""
