"""Every number by which a reconnecting socket lives."""

from __future__ import annotations

from attrs import Attribute, field, frozen

from energy_core.printable import printable_class


def _positive(_: SocketConfig, attribute: Attribute[float], value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"{attribute.name} must be positive and finite, not {value!r}")


def _count(_: SocketConfig, attribute: Attribute[int], value: int) -> None:
    if not value >= 1:
        raise ValueError(f"{attribute.name} must be at least 1, not {value!r}")


@printable_class
@frozen(kw_only=True)
class SocketConfig:
    """The defaults are the promise; tests on real sockets shorten them."""

    open_timeout_s: float = field(default=10.0, validator=_positive)
    """From the first packet to the end of the handshake."""
    close_timeout_s: float = field(default=0.1, validator=_positive)
    """How long the other side may take to answer our close, or to leave after its own."""
    ping_interval_s: float = field(default=20.0, validator=_positive)
    """A ping is sent after this much silence."""
    ping_timeout_s: float = field(default=20.0, validator=_positive)
    """A link is dead after this much silence since the ping; with the interval that makes 40 s."""
    first_delay_s: float = field(default=5.0, validator=_positive)
    """The first attempt after a healthy connection comes within this time, evenly spread."""
    backoff_base_s: float = field(default=2.0, validator=_positive)
    """The second attempt comes within this time; it doubles with each further one."""
    backoff_cap_s: float = field(default=60.0, validator=_positive)
    """The longest the doubled time gets."""
    try_again_later_s: float = field(default=5.0, validator=_positive)
    """The least wait after the server closed with 1013."""
    healthy_after_s: float = field(default=60.0, validator=_positive)
    """A connection this old ends the row of failures."""
    healthy_after_event_s: float = field(default=10.0, validator=_positive)
    """So does one that lives this long after its first valid event."""
    stale_floor_s: float = field(default=60.0, validator=_positive)
    """A source is not called stale before this much time without a valid event."""
    stale_factor: float = field(default=3.0, validator=_positive)
    """Nor before this many times the usual interval between its events."""
    longest_retry_after_s: float = field(default=3600.0, validator=_positive)
    """However long the server asks us to wait, the next attempt is not later."""
    most_handshakes: int = field(default=40, validator=_count)
    """So many handshakes may begin within `handshake_window_s`."""
    handshake_window_s: float = field(default=600.0, validator=_positive)
    """See `most_handshakes`."""
    most_strange_closes: int = field(default=10, validator=_count)
    """So many closes in a row with a 4xxx code nobody documents, and no event, end the source."""
    most_refusals: int = field(default=3, validator=_count)
    """So many refusals in a row, all of one kind and in the vendor's own words, end the source."""
    largest_frame: int = field(default=1024 * 1024, validator=_count)
    """Bytes of a message; a larger one ends the connection with 1009."""
