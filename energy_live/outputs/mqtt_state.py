"""`PublishedState`: the present state of all sites, and which messages tell a broker about it. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.source import OpenAlarm
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State, Status
from energy_live.outputs import home_assistant as ha
from energy_live.outputs.home_assistant import DeviceKey, LatestState, MqttMessage, Topics

SiteKey = tuple[str, str]
"""Vendor, and number of the site or product."""

_ALL: Final = "*"
"""The site of a source that polls all sites of an account."""
_STALE: Final = frozenset({State.STALE, State.AUTH_FAILED, State.FAILED, State.CLOSED})
"""States in which the last values of a site are not shown any more. A lost connection is not among them:
it often lasts a few seconds only, and `expire_after` ends the values of a longer one."""


class PublishedState:
    """The newest values, states and alarms, and what of them a broker has.

    Args:
        topics: Where they are published.
        names: Names of sites and products; read when a device is announced.
        expire_after_s: Seconds after which a value is no longer shown.
        version: Version of the program, shown in Home Assistant.
    """

    def __init__(
        self, topics: Topics, *, names: Mapping[SiteKey, str], expire_after_s: int, version: str
    ) -> None:
        self._topics = topics
        self._names = names
        self._expire_after_s = expire_after_s
        self._version = version
        self._components: dict[DeviceKey, dict[str, None]] = {}
        """The components of each device, also of those that only the broker remembers."""
        self._remembered_names: dict[DeviceKey, str] = {}
        self._announced: dict[DeviceKey, tuple[str, tuple[str, ...]]] = {}
        """Name and components in the discovery payloads that were published."""
        self._states: dict[tuple[DeviceKey, Quantity], LatestState] = {}
        self._sites: dict[SiteKey, str] = {}
        """Sites of which there were events, with their account."""
        self._stale: set[SiteKey] = set()
        self._alarms: dict[DeviceKey, tuple[OpenAlarm, ...]] = {}
        self._removed: set[SiteKey] = set()
        """Sites that were removed in this run: events that were waiting must not bring them back."""

    # --- from the broker -----------------------------------------------------------------------------------

    def remember(self, topic: str, payload: str, now: datetime) -> None:
        """Note a retained message of an earlier run: a device, or an energy. Ignores any other."""
        if (device := self._topics.device_of_config(topic)) is not None:
            if (found := ha.read_discovery(payload)) is not None:
                self._remembered_names[device], components = found
                known = self._components.get(device, {})
                self._components[device] = dict.fromkeys([*components, *known])
        elif (energy := self._topics.energy_of_state(topic)) is not None:
            state, latest = ha.read_state(payload), self._states.get(energy)
            if state is not None and (latest is None or latest.time < state[0]):
                self._states[energy] = LatestState(*state, received_at=now)

    # --- from events ---------------------------------------------------------------------------------------

    def newest(self, batch: Sequence[Event], now: datetime) -> Mapping[tuple[DeviceKey, Quantity], Event]:
        """Note the newest values of a batch, and return the readings that brought them.

        A backfilled or late reading, or one that waited too long, is not the present: only its energies
        count, because they are counters.
        """
        newest: dict[tuple[DeviceKey, Quantity], Event] = {}
        for event in batch:
            if event.kind is not Kind.READING or DeviceKey.of(event.source)[:2] in self._removed:
                continue
            device, waited_s = DeviceKey.of(event.source), (now - event.received_at).total_seconds()
            old = event.backfilled or event.late or waited_s > self._expire_after_s
            for quantity, value in event.values.items():
                if old and not ha.is_energy(quantity):
                    continue
                latest = self._states.get((device, quantity))
                if latest is None or latest.time <= event.time:
                    self._states[device, quantity] = LatestState(event.time, value, event.received_at)
                    self._components.setdefault(device, {})[quantity.value] = None
                    newest[device, quantity] = event
        return newest

    def changes(self, batch: Sequence[Event], position: Checkpoint) -> list[MqttMessage]:
        """Return the messages about devices, states of sites and alarms that a batch has changed."""
        batch = [event for event in batch if DeviceKey.of(event.source)[:2] not in self._removed]
        sites = self._changed_sites(batch)
        messages = self._announcements({DeviceKey.of(event.source) for event in batch})
        messages += map(self._site_status, sites)
        messages += self._changed_alarms(
            {event.source for event in batch if not event.source.vendor.endswith(ha.COUNTED)}, position
        )
        return messages

    def _changed_sites(self, batch: Sequence[Event]) -> Collection[SiteKey]:
        """Note which sites are new, have become stale or are fresh again, and return them."""
        known, stale = set(self._sites), set(self._stale)
        for event in batch:
            source, detail = event.source, event.detail
            if source.vendor.endswith(ha.COUNTED):  # it says nothing about the values of the site itself
                continue
            one = source.site != _ALL
            if one:
                self._sites[source.vendor, source.site] = source.account
                self._components.setdefault(DeviceKey(source.vendor, source.site, 0), {})[ha.ALARM] = None
            if isinstance(detail, Status):
                if detail.state.terminal or (one and detail.state in _STALE):
                    self._stale.update(self._sites_of(source))
                elif one:
                    self._stale.difference_update(self._sites_of(source))
            elif event.kind is Kind.READING and not (event.backfilled or event.late):
                self._stale.discard((source.vendor, source.site))
        return (stale ^ self._stale) | (set(self._sites) - known)

    def _sites_of(self, source: SourceId) -> Iterable[SiteKey]:
        if source.site != _ALL:
            return [(source.vendor, source.site)]
        mine = self._sites.items()
        return [site for site, account in mine if (site[0], account) == (source.vendor, source.account)]

    def _changed_alarms(self, sources: Iterable[SourceId], position: Checkpoint) -> list[MqttMessage]:
        """Note the active alarms, which the position has, and return the messages of those that changed."""
        messages = []
        for site in {each._replace(instance=0) for each in sources if each.site != _ALL}:
            found = [at[site].alarms for at in position.positions.values() if site in at]
            alarms, device = (found[0] if found else ()), DeviceKey.of(site)
            if self._alarms.get(device) != alarms:
                self._alarms[device] = alarms
                messages.append(self._alarm_message(device))
        return messages

    # --- messages ------------------------------------------------------------------------------------------

    def everything(self, now: datetime) -> list[MqttMessage]:
        """Return what Home Assistant has to know after its start, or after that of the broker."""
        self._announced.clear()
        ages = {key: (now - state.received_at).total_seconds() for key, state in self._states.items()}
        fresh = [key for key in ages if ha.is_energy(key[1]) or ages[key] < self._expire_after_s]
        return [
            *self._announcements(self._components),
            *map(self._site_status, self._sites),
            *map(self._alarm_message, self._alarms),
            *(self.state_message(*key, ages[key]) for key in fresh if key[0][:2] in self._sites),
            MqttMessage(self._topics.status, ha.ONLINE),
        ]

    def removal(self, sites: Collection[SiteKey]) -> list[MqttMessage]:
        """Forget all sites and products but these, and return the messages that delete their devices."""
        gone = [device for device in self._components if device[:2] not in sites]
        self._removed = self._removed.union(self._sites).difference(sites)
        topics = {self._topics.config(device): None for device in gone}
        for device in gone:
            components = self._components.pop(device)
            topics |= {self._topics.state(device, each): None for each in components}
            topics[self._topics.site_status(*device[:2])] = None
            for known in (self._announced, self._alarms, self._remembered_names):
                known.pop(device, None)
            self._sites.pop(device[:2], None)
            self._stale.discard(device[:2])
        self._states = {key: state for key, state in self._states.items() if key[0] not in gone}
        return [MqttMessage(topic, "") for topic in topics]  # an empty payload deletes a retained message

    def _announcements(self, devices: Iterable[DeviceKey]) -> list[MqttMessage]:
        """Return the discovery payloads of those devices of this run that are new or have changed."""
        messages = []
        given = set(devices)
        for device in sorted(given | {each._replace(instance=0) for each in given}):
            site, components = device[:2], tuple(self._components.get(device, ()))
            if site not in self._sites or not components:
                continue
            name = self._names.get(site) or self._remembered_names.get(device) or ha.default_name(device)
            if self._announced.get(device) == (name, components):
                continue
            self._announced[device] = name, components
            payload = ha.discovery_payload(
                self._topics,
                device,
                components,
                name=name,
                expire_after_s=self._expire_after_s,
                version=self._version,
            )
            messages.append(MqttMessage(self._topics.config(device), payload))
        return messages

    def _site_status(self, site: SiteKey) -> MqttMessage:
        payload = ha.OFFLINE if site in self._stale else ha.ONLINE
        return MqttMessage(self._topics.site_status(*site), payload)

    def _alarm_message(self, device: DeviceKey) -> MqttMessage:
        payload = ha.alarm_payload(self._alarms[device])
        return MqttMessage(self._topics.state(device, ha.ALARM), payload)

    def state_message(self, device: DeviceKey, quantity: Quantity, age_s: float = 0.0) -> MqttMessage:
        """Return the message with the newest value of a quantity, which has this age."""
        payload = ha.state_payload(quantity, self._states[device, quantity])
        expires = None if ha.is_energy(quantity) else max(1, self._expire_after_s - max(0, int(age_s)))
        return MqttMessage(self._topics.state(device, quantity.value), payload, expires_s=expires)
