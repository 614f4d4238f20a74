"""Sides for test_benchmarks, imported by name in their processes."""

import sys

from benchmarks.rounds import SPEED
from benchmarks.worker import Cost


class Side:
    def __init__(self, values, cost_s=1.0):
        self.values = values
        self.cost_s = cost_s

    def check(self):
        return self.values

    def round(self, sampler=None):
        return Cost(self.cost_s, {"rss_kb": 7.0})


def honest(count, cost_s=1.0):
    return Side([[second, 1.5] for second in range(count)], cost_s)


def loses_one(count):
    return Side([[second, 1.5] for second in range(count - 1)])


def rounds_a_value(count):
    return Side([[second, 1.5 if second else 1.4999] for second in range(count)])


def delivers_nothing(count):
    return Side([])


def breaks(count):
    raise RuntimeError


def is_blocked(count, expected):
    blocked = [name in sys.modules and sys.modules[name] is None for name in SPEED]
    return Side([1] if blocked == [expected] * len(SPEED) else [])
