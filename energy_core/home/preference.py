"""Which source to prefer for a quantity that several sources deliver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from attrs import field, frozen
from attrs.converters import optional

from energy_core.printable import printable, printable_class
from energy_core.stream.vocabulary import Quantity, SourceId, State


@printable_class
@frozen
class SourceFilter:
    """Matches sources by the parts of their id; a part that is None matches any.

    >>> SourceFilter("vrm", site=151734).matches(SourceId("vrm", "me", "151734", 288))
    True
    """

    vendor: str | None = None
    account: str | None = field(default=None, kw_only=True)
    site: str | None = field(default=None, kw_only=True, converter=optional(str))
    """The site or product; a number is converted to text."""
    instance: int | None = field(default=None, kw_only=True)

    def matches(self, source: SourceId) -> bool:
        """Return whether all given parts are those of `source`."""
        wanted = (self.vendor, self.account, self.site, self.instance)
        return all(mine is None or mine == its for mine, its in zip(wanted, source, strict=True))


_ANY: Final = (SourceFilter(),)
_SITES_HAVE_STATES: Final = frozenset({State.LIVE, State.BACKFILLING, State.STALE})
"""In these states of a poller each of its sites has a state of its own."""


class SourcePreference:
    """An order of sources, first choice first. Sources that match no filter are not used.

    Args:
        order: filters for every quantity without an order of its own. Without any, all sources are equal.
        by_quantity: orders that replace the general one for some quantities.
    """

    def __init__(
        self,
        *order: SourceFilter,
        by_quantity: Mapping[Quantity, Iterable[SourceFilter]] = MappingProxyType({}),
    ) -> None:
        self._order = order or _ANY
        self._by_quantity = {quantity: tuple(order) for quantity, order in by_quantity.items()}

    def rank(self, source: SourceId, quantity: Quantity) -> int | None:
        """Return the index of the first filter that matches `source`, or None if none does."""
        order = self._by_quantity.get(quantity, self._order)
        return next((place for place, each in enumerate(order) if each.matches(source)), None)

    @printable
    def __repr__(self) -> str:
        return f"<SourcePreference {len(self._order)} filters, {len(self._by_quantity)} quantities apart>"


def status_source(states: Mapping[SourceId, State], device: SourceId) -> SourceId | None:
    """Return the source whose state applies to a device, or None.

    It is the source of the device itself, or else that of its site. While a poller of several sites is not
    connected, its state applies to all of them.

    Args:
        states: the states of all sources that have reported one.
        device: the device.
    """
    own = next((each for each in (device, device._replace(instance=0)) if each in states), None)
    for poller, state in states.items():
        if poller not in {device, own} and status_applies(poller, device):
            return own if own is not None and state in _SITES_HAVE_STATES else poller
    return own


def status_applies(source: SourceId, device: SourceId) -> bool:
    """Return whether a status event of `source` applies to `device`.

    A poller reports one status for everything it polls: all instances of its site, all sites that its id
    lists with commas, or the whole account where its site is ``*``.
    """
    if source == device:
        return True
    if source[:2] != device[:2] or source.instance != 0:
        return False
    return source.site == "*" or device.site in source.site.split(",")
