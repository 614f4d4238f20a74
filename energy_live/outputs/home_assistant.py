"""What Home Assistant reads from MQTT: topics, discovery payloads and states.

The rules are those of Home Assistant's MQTT integration (``components/mqtt/schemas.py``, device discovery).
Each quantity has a topic of its own: `expire_after` of an entity counts from the last message on its topic,
so a topic for all quantities would keep one alive that no longer comes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from attrs import frozen

from energy_core.stream.source import OpenAlarm
from energy_core.stream.vocabulary import Quantity, SourceId

ALARM: Final = "alarm"
"""The component that shows whether an alarm is active."""
COUNTED: Final = "-energy"
"""The end of the vendor in the ids of the sources of `EnergyCounters`."""
ONLINE: Final = "online"
OFFLINE: Final = "offline"

_ORIGIN: Final = "energy-live"
_VENDORS: Final[Mapping[str, tuple[str, str]]] = {
    "vrm": ("VRM", "Victron Energy"),
    "voltstorage": ("VoltStorage", "VoltStorage"),
}
"""Names of a vendor's service and of the vendor."""
_KINDS: Final[Mapping[str, Mapping[str, object]]] = {
    "W": {"device_class": "power", "unit_of_measurement": "W", "suggested_display_precision": 0},
    "%": {"device_class": "battery", "unit_of_measurement": "%", "suggested_display_precision": 0},
    "V": {"device_class": "voltage", "unit_of_measurement": "V", "suggested_display_precision": 1},
    "A": {"device_class": "current", "unit_of_measurement": "A", "suggested_display_precision": 1},
    "degC": {"device_class": "temperature", "unit_of_measurement": "°C", "suggested_display_precision": 1},
    "kWh": {"device_class": "energy", "unit_of_measurement": "kWh", "suggested_display_precision": 2},
}
"""By the unit of a quantity."""
_WORDS: Final[Mapping[str, str]] = {
    **{word: word.upper() for word in ("ac", "dc", "ev", "l1", "l2", "l3", "pv")},
    "soc": "state of charge",
}
"""Parts of names that are not English words."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9]")
_ESCAPED: Final = re.compile(r"-([0-9a-f]+)-")


class DeviceKey(NamedTuple):
    """A device of Home Assistant: one instance of a site or product, with the energies counted for it.

    Without the account's label, so that a new label makes no new entities: numbers of sites and products are
    unique by themselves.
    """

    vendor: str
    site: str
    instance: int

    @classmethod
    def of(cls, source: SourceId) -> DeviceKey:
        """Return the device of a source."""
        return cls(source.vendor.removesuffix(COUNTED), source.site, source.instance)


class MqttMessage(NamedTuple):
    """A message to publish with QoS 1."""

    topic: str
    payload: str
    retain: bool = True
    expires_s: int | None = None
    """Seconds the broker keeps it; needs version 5, before which such a message is not retained."""


class LatestState(NamedTuple):
    """The newest value of a quantity."""

    time: datetime
    value: float
    received_at: datetime


def is_energy(quantity: Quantity) -> bool:
    """Return whether a quantity is a counter of kWh, which stays valid without new messages."""
    return quantity.unit == "kWh"


@frozen(kw_only=True)
class Topics:
    """The topics of one program.

    Args:
        base: The first part of the topics of states, of letters, digits and hyphens; unique among programs
            that share a broker.
        discovery: Home Assistant's discovery prefix.
    """

    base: str
    discovery: str

    @property
    def status(self) -> str:
        """Whether the program is connected."""
        return f"{self.base}/status"

    @property
    def home_assistant_status(self) -> str:
        """Where Home Assistant says ``online`` after its start."""
        return f"{self.discovery}/status"

    @property
    def configs(self) -> str:
        """A filter for the discovery payloads of all programs."""
        return f"{self.discovery}/device/+/config"

    @property
    def states(self) -> str:
        """A filter for the states of this program."""
        return f"{self.base}/+/+/+/+"

    def site_status(self, vendor: str, site: str) -> str:
        """Whether the values of a site or product are fresh."""
        return f"{self.base}/{_escaped(vendor)}/{_escaped(site)}/status"

    def state(self, device: DeviceKey, component: str) -> str:
        """The topic of a quantity, or of `ALARM`."""
        return f"{self.base}/{_escaped(device.vendor)}/{_escaped(device.site)}/{device.instance}/{component}"

    def config(self, device: DeviceKey) -> str:
        """The topic of the discovery payload of a device."""
        return f"{self.discovery}/device/{self.device_id(device)}/config"

    def device_id(self, device: DeviceKey) -> str:
        """Identifies a device in Home Assistant."""
        parts = map(_escaped, (device.vendor, device.site, str(device.instance)))
        return "_".join([self.base, *parts])

    def device_of_config(self, topic: str) -> DeviceKey | None:
        """Return the device of a topic that `config` made; None for those of other programs."""
        parts = topic.removeprefix(f"{self.discovery}/device/").removesuffix("/config").split("_")
        if len(parts) != 4 or parts[0] != self.base:
            return None
        return _device_key(*parts[1:])

    def energy_of_state(self, topic: str) -> tuple[DeviceKey, Quantity] | None:
        """Return device and quantity of a topic that `state` made for an energy; None for any other."""
        parts = topic.removeprefix(f"{self.base}/").split("/")
        if len(parts) != 4 or parts[3] not in set(Quantity) or not is_energy(Quantity(parts[3])):
            return None
        device = _device_key(*parts[:3])
        return None if device is None else (device, Quantity(parts[3]))


def _escaped(text: str) -> str:
    """Return a text in the characters that a discovery topic may have; other texts give other results."""
    return _UNSAFE.sub(lambda char: f"-{ord(char[0]):x}-", text)


def _device_key(vendor: str, site: str, instance: str) -> DeviceKey | None:
    def plain(text: str) -> str:
        return _ESCAPED.sub(lambda code: chr(int(code[1], 16)), text)

    try:
        return DeviceKey(plain(vendor), plain(site), int(plain(instance)))
    except (ValueError, OverflowError):  # of another program after all
        return None


def default_name(device: DeviceKey) -> str:
    """Return a name for the site or product of a device whose name is not known."""
    return f"{_VENDORS.get(device.vendor, (device.vendor,))[0]} {device.site}"


def discovery_payload(
    topics: Topics,
    device: DeviceKey,
    components: Iterable[str],
    *,
    name: str,
    expire_after_s: int,
    version: str,
) -> str:
    """Return the retained payload that makes a device and its entities.

    Args:
        topics: The topics of the program.
        device: The device.
        components: Names of its quantities, and `ALARM`.
        name: The name of its site or product; also suggested as the area.
        expire_after_s: Seconds after which a value that does not come any more is unavailable.
        version: The version of this program.
    """
    identifier = topics.device_id(device)
    available = [{"topic": topics.status}, {"topic": topics.site_status(device.vendor, device.site)}]
    return _json(
        {
            "device": {
                "identifiers": [identifier],
                "name": f"{name} {device.instance}" if device.instance else name,
                "manufacturer": _VENDORS.get(device.vendor, ("", device.vendor))[1],
                "suggested_area": name,
            },
            "origin": {"name": _ORIGIN, **({"sw_version": version} if version else {})},
            "availability": available,
            "availability_mode": "all",
            "qos": 1,
            "components": {
                each: {
                    "unique_id": f"{identifier}_{each}",
                    "state_topic": topics.state(device, each),
                    **(_alarm(topics, device) if each == ALARM else _sensor(Quantity(each), expire_after_s)),
                }
                for each in components
            },
        }
    )


def _sensor(quantity: Quantity, expire_after_s: int) -> Mapping[str, object]:
    energy = is_energy(quantity)
    words = [_WORDS.get(word, word) for word in quantity.split("_")]
    return {
        "platform": "sensor",
        "name": " ".join([words[0][:1].upper() + words[0][1:], *words[1:]]),
        "value_template": "{{ value_json.value }}",
        "state_class": "total_increasing" if energy else "measurement",
        **_KINDS.get(quantity.unit, {"unit_of_measurement": quantity.unit}),
        **({} if energy else {"expire_after": expire_after_s}),
    }


def _alarm(topics: Topics, device: DeviceKey) -> Mapping[str, object]:
    return {
        "platform": "binary_sensor",
        "name": "Alarm",
        "device_class": "problem",
        "value_template": "{{ 'ON' if value_json.alarms else 'OFF' }}",
        "json_attributes_topic": topics.state(device, ALARM),
    }


def state_payload(quantity: Quantity, state: LatestState) -> str:
    """Return the state of a quantity."""
    return _json({"value": state.value, "unit": quantity.unit, "time": state.time.isoformat()})


def alarm_payload(alarms: Sequence[OpenAlarm]) -> str:
    """Return the active alarms of a site or product."""
    return _json({"alarms": [{"text": each.text, "device": each.device} for each in alarms]})


def read_state(payload: str) -> tuple[datetime, float] | None:
    """Return time and value of what `state_payload` wrote; None for any other text."""
    try:
        members = json.loads(payload)
        time, value = datetime.fromisoformat(members["time"]), members["value"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (time, float(value)) if is_number and time.tzinfo is not None else None


def read_discovery(payload: str) -> tuple[str, list[str]] | None:
    """Return the area and the components of what `discovery_payload` wrote; None for any other text."""
    try:
        members = json.loads(payload)
        name, components = members["device"]["suggested_area"], list(members["components"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    known = {ALARM, *Quantity}
    return (name, [each for each in components if each in known]) if isinstance(name, str) else None


def _json(members: object) -> str:
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
