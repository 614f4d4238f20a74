"""Model of a household: PV, load, battery and grid as functions of time and seed."""
