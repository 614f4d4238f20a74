"""Simulates VRM and VoltStorage on 127.0.0.1: HTTP and WebSocket servers with fault injection.

Both serve the data of the same simulated households. `evidence` lists the document that each answer is taken
from.
"""

from energy_live.simulator.faults import Fault, Faults
from energy_live.simulator.simulator import DEFAULT_SPEED, Simulator

__all__ = ["DEFAULT_SPEED", "Fault", "Faults", "Simulator"]
