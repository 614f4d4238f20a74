"""VRM and VoltStorage on 127.0.0.1: real servers, fed by one model of a household, with faults on request."""

from energy_live.simulator.faults import Fault, Faults
from energy_live.simulator.simulator import DEFAULT_SPEED, Simulator

__all__ = ["DEFAULT_SPEED", "Fault", "Faults", "Simulator"]
