"""Outputs: where the readings of a merged stream are stored or published.

An `Output` is one store or broker. `OutputFeed` feeds it from a subscription of its own, from the position at
which it stopped, and tries again while it is down. docs/how-to/own-output.md shows one of your own.
"""

from energy_live.outputs.choice import OutputChoice
from energy_live.outputs.feed import OutputFeed
from energy_live.outputs.feed_status import FeedConfig, OutputState, OutputStatus
from energy_live.outputs.output import Output, OutputError, RefusedEvent

__all__ = [
    "FeedConfig",
    "Output",
    "OutputChoice",
    "OutputError",
    "OutputFeed",
    "OutputState",
    "OutputStatus",
    "RefusedEvent",
]
