"""energy_live/simulator/voltstorage."""
