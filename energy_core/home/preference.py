"""Which source is asked for which quantity, where several know it."""

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
    """Names sources by what is said here; what is left out may be anything.

    >>> From("vrm", site=151734).names(SourceId("vrm", "me", "151734", 288))
    True
    """

    vendor: str | None = None
    account: str | None = field(default=None, kw_only=True)
    site: str | None = field(default=None, kw_only=True, converter=optional(str))
    """The site or product; a number is taken for its digits."""
    instance: int | None = field(default=None, kw_only=True)

    def names(self, source: SourceId) -> bool:
        """Tell whether `source` is meant."""
        wanted = (self.vendor, self.account, self.site, self.instance)
        return all(mine is None or mine == its for mine, its in zip(wanted, source, strict=True))


_ANY: Final = (SourceFilter(),)
_SITES_ARE_KNOWN: Final = frozenset({State.LIVE, State.BACKFILLING, State.STALE})
"""States of a poller in which each of its sites has a state of its own."""


class SourcePreference:
    """An order of sources, first choice first; a source that is nowhere in it is not asked.

    Args:
        order: For every quantity that has no order of its own. None given: any source will do.
        by_quantity: Orders that replace the general one for some quantities.
    """

    def __init__(
        self,
        *order: SourceFilter,
        by_quantity: Mapping[Quantity, Iterable[SourceFilter]] = MappingProxyType({}),
    ) -> None:
        self._order = order or _ANY
        self._by_quantity = {quantity: tuple(order) for quantity, order in by_quantity.items()}

    def rank(self, source: SourceId, quantity: Quantity) -> int | None:
        """Return the place of `source` in the order for `quantity`, 0 being the first; None: not asked."""
        order = self._by_quantity.get(quantity, self._order)
        return next((place for place, each in enumerate(order) if each.names(source)), None)

    @printable
    def __repr__(self) -> str:
        return f"<Preference {self._order}, {len(self._by_quantity)} quantities apart>"


def announcer(states: Mapping[SourceId, State], device: SourceId) -> SourceId | None:
    """Return the source in `states` whose state is that of a device; None where there is none.

    That is the device's own source or its site. Only where a poller of several sites is not live itself, its
    state is that of all of them.
    """
    own = next((each for each in (device, device._replace(instance=0)) if each in states), None)
    for poller, state in states.items():
        if poller not in {device, own} and speaks_for(poller, device):
            return own if own is not None and state in _SITES_ARE_KNOWN else poller
    return own


def speaks_for(announcer: SourceId, device: SourceId) -> bool:
    """Tell whether a status of `announcer` is about `device` too.

    A poller announces once for all it asks about: the instances of its site, the sites it lists with commas,
    or with ``*`` the whole account.
    """
    if announcer == device:
        return True
    if announcer[:2] != device[:2] or announcer.instance != 0:
        return False
    return announcer.site == "*" or device.site in announcer.site.split(",")
