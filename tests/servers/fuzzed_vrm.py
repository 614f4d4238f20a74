"""A VRM server with mutated answers, which records the readings it sent and mutated."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any, NamedTuple

from energy_core import Quantity
from tests.servers.memory_network import Asked, http
from tests.servers.mutations import HEADERS, KINDS, PAGES, STATUSES, bytes_of, is_json, mutated, text_of
from tests.servers.virtual_time import EPOCH

START = int(EPOCH.timestamp())
SITES = (1, 2, 3, 4)
BATTERY = 276
EVERY_S = 60

OFF = (-(10**9), -86407, -3607, -90, -33, 33, 90, 280, 330, 400, 3607, 86407, 90_007, 10**6, 10**7, 10**9)
"""Wrong times, by an offset in seconds that never makes two times equal."""

ATTRIBUTES = {
    "bs": (144, "%.1F %%"),
    "bv": (143, "%.2F V"),
    "bc": (147, "%.1F A"),
    "g1": (379, "%.0F W"),
    "Pdc": (113, "%.0F W"),
}


class Slot(NamedTuple):
    """One reading of one device."""

    site: int
    instance: int
    stamp: int

    @property
    def id(self) -> str:
        return f"{self.site}/{self.instance}/{self.stamp}"


def truth(slot: Slot) -> dict[Quantity, float]:
    """Return the values that the device measured."""
    n = slot.stamp // EVERY_S
    if slot.instance == BATTERY:
        return {
            Quantity.BATTERY_SOC: float(slot.site * 10 + n % 7),
            Quantity.BATTERY_VOLTAGE: 50.0 + n % 5,
            Quantity.BATTERY_CURRENT: float(n % 3 - 1),
            Quantity.BATTERY_POWER: (50.0 + n % 5) * float(n % 3 - 1),
        }
    return {Quantity.GRID_POWER: float(n % 100 - 50), Quantity.PV_POWER: float(n % 11 * 100)}


class FuzzedVRM:
    """Answers like VRM, and mutates most answers while `fuzzing`.

    It never invalidates three whole answers in a row: three refusals in a row end a source.
    """

    def __init__(self, random: Random, now: Callable[[], float], wanted: tuple[int, ...]) -> None:
        self.wanted = wanted or SITES
        self.fuzzing = False
        self.inputs = 0
        self.touched: set[Slot] = set()
        """Readings that were sent mutated."""
        self.sent: set[Slot] = set()
        """Readings that were sent unchanged."""
        self._random = random
        self._now = now
        self._spoiled = 0
        self.unreadable = 0
        """The number of sent records that are no sites and of attributes without a code."""

    def stamp(self, site: int, now: float | None = None) -> int:
        """Return the time of a site's last log."""
        moment = START + (self._now() if now is None else now)
        return int((moment - site) // EVERY_S * EVERY_S) + site

    def answer(self, asked: Asked) -> bytes | float:
        """Answer one request."""
        if asked.path.endswith("/users/me"):
            return self._maybe_spoiled({"success": True, "user": {"id": 22, "name": "n", "email": "e"}}, ())
        if asked.path.endswith("/installations"):
            return self._sites(asked)
        if asked.path.endswith("/widgets/Graph"):
            return self._graph(asked)
        return self._http(404, b'{"success":false,"errors":"unknown"}')

    def _http(self, *args: Any, **kwargs: Any) -> bytes:
        return http(*args, now=EPOCH + timedelta(seconds=self._now()), **kwargs)

    def _sites(self, asked: Asked) -> bytes | float:
        only = {int(each) for each in asked.all("idSite")} or set(SITES)
        records = [self._record(site) for site in SITES if site in only]
        slots = {site: [Slot(site, instance, self.stamp(site)) for instance in (0, BATTERY)] for site in only}
        random = self._random
        bad: set[int] = set()
        if self.fuzzing and random.random() < 0.7:
            self.inputs += 1
            for site in random.sample(sorted(only), min(len(only), random.choice((1, 1, 1, 2)))):
                n = sorted(only).index(site)
                bad.add(site)
                records[n] = self._mutated_site(records[n])
            if random.random() < 0.05 and len(records) > 1:  # an additional record that is no site
                records.append(random.choice((None, [], "x", 7, {"idSite": "x"})))
        answer = {"success": True, "records": records}
        unreadable = sum(_unreadable(record, self.wanted) for record in records)
        whole = [slot for site in only - bad for slot in slots[site]]
        self.touched |= {slot for site in bad for slot in slots[site]}
        if not is_json(text_of(answer)):  # NaN makes the whole body invalid
            whole, unreadable = [], 0
            self._spoiled += 1
        return self._maybe_spoiled(answer, whole, unreadable=unreadable)

    def _mutated_site(self, record: dict[str, Any]) -> Any:
        random = self._random
        if random.random() < 0.05:
            return random.choice((None, [], "x", 7, False, {}))
        kind = random.random()
        made = copy.deepcopy(record)
        if kind < 0.7:  # a time or an instance, the most harmful mutations
            item = random.choice(made["extended"])
            if not isinstance(item, dict):
                return made
            key = random.choice(
                ("timestamp", "instance", "code", "rawValue", "formatWithUnit", "idDeviceType")
            )
            item[key] = mutated({"x": item.get(key)}, random).get("x", None)
            if key == "timestamp" and random.random() < 0.7:
                off = random.choice(OFF)
                item[key] = record["last_timestamp"] + off
                if random.random() < 0.5:
                    made["last_timestamp"] = item[key]
        elif kind < 0.8:
            made["last_timestamp"] = record["last_timestamp"] + random.choice(OFF)
        else:
            made = mutated(made, random, times=random.choice((1, 1, 2, 3)))
        if isinstance(made, dict) and _number(made.get("idSite")) in set(SITES) - {record["idSite"]}:
            made["idSite"] = -1  # another site's id would make it that site's record
        return made

    def _record(self, site: int) -> dict[str, Any]:
        stamp = self.stamp(site)
        battery, system = truth(Slot(site, BATTERY, stamp)), truth(Slot(site, 0, stamp))
        return {
            "idSite": site,
            "name": f"site {site}",
            "identifier": f"c0ffee{site}",
            "timezone": "Europe/Berlin",
            "last_timestamp": stamp,
            "extended": [
                _item("bs", battery[Quantity.BATTERY_SOC], BATTERY, stamp, 2),
                _item("bv", battery[Quantity.BATTERY_VOLTAGE], BATTERY, stamp, 2),
                _item("bc", battery[Quantity.BATTERY_CURRENT], BATTERY, stamp, 2),
                _item("g1", system[Quantity.GRID_POWER], 0, stamp, 6),
                _item("Pdc", system[Quantity.PV_POWER], 0, stamp, 6),
                _sum("from_to_grid", system[Quantity.GRID_POWER], "g1", stamp),
                _sum("solar_yield", system[Quantity.PV_POWER], "Pdc", stamp),
            ],
        }

    def _graph(self, asked: Asked) -> bytes | float:
        site = int(asked.path.rsplit("/", 4)[-3])
        start, end = (int(asked.all(name)[0]) for name in ("start", "end"))
        instance = int(asked.all("instance")[0])
        last = min(end, self.stamp(site))
        data: dict[str, Any] = {}
        meta: dict[str, Any] = {}
        for code in asked.all("attributeCodes[]"):
            number, pattern = ATTRIBUTES.get(code, (0, ""))
            first = max(start, START - 3600)
            points = [
                [stamp, _value(code, truth(Slot(site, instance, stamp)))]
                for stamp in range(first - (first - site) % EVERY_S + EVERY_S, last + 1, EVERY_S)
            ]
            data[str(number)] = points or False
            meta[str(number)] = {
                "code": code,
                "description": code,
                "formatWithUnit": pattern,
                "axisGroup": "",
            }
        answer = {"success": True, "records": {"data": data, "meta": meta, "instance": instance}}
        if self.fuzzing and self._random.random() < 0.6:
            self.inputs += 1
            odd = mutated(answer, self._random, times=self._random.choice((1, 2, 5)))
            self.touched |= {Slot(site, instance, stamp) for stamp in _changed(answer, odd)}
            answer = odd
        return self._maybe_spoiled(answer, (), most=99)

    def _maybe_spoiled(self, answer: Any, whole: Any, *, most: int = 2, unreadable: int = 0) -> bytes | float:
        body = text_of(answer)
        random = self._random
        if not self.fuzzing or random.random() > 0.25 or (most < 99 and self._spoiled >= most):
            if most < 99:
                self._spoiled = 0
            self.sent |= set(whole)
            self.unreadable += unreadable
            return self._http(200, body)
        self.inputs += 1
        if most < 99:
            self._spoiled += 1
        kind = random.randrange(8)
        if kind < 3:
            broken = bytes_of(body, random)
            if is_json(broken):  # its values may have changed
                self.touched |= set(whole)
            return self._http(200, broken, random.choice(KINDS))
        if kind == 3:
            return self._http(200, body, headers=(random.choice(HEADERS),))
        if kind == 4:
            return self._http(200, body, length=len(body) + random.choice((1, 1000, -1)))
        if kind == 5:
            return random.choice((0.0, 1.0))
        odd = (random.choice(HEADERS),) if random.random() < 0.5 else ()
        return self._http(random.choice(STATUSES), random.choice(PAGES), random.choice(KINDS), headers=odd)


def _unreadable(record: Any, wanted: tuple[int, ...]) -> int:
    """Return the number of attributes of a record that cannot be read."""
    if not isinstance(record, dict):
        return 1
    found = record.get("extended")
    if _number(record.get("idSite")) not in wanted or not isinstance(found, list):
        return 0
    return sum(isinstance(each, dict) and not isinstance(each.get("code"), str) for each in found)


def _changed(answer: Any, odd: Any) -> set[int]:
    """Return the readings that a mutated graph changes; all of them where that is unknown."""
    points = {code: dict(each or ()) for code, each in answer["records"]["data"].items()}
    everything = {stamp for each in points.values() for stamp in each}
    try:
        data = odd["records"]["data"]
        same = odd["success"] is True and data.keys() == points.keys()
        same = same and {**odd["records"], "data": 0} == {**answer["records"], "data": 0}
        left = {code: dict(each or ()) for code, each in data.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return everything
    if not same:
        return everything
    return {at for code, each in points.items() for at in each if left[code].get(at) != each[at]}


def _item(code: str, value: float, instance: int, stamp: int, kind: int) -> dict[str, Any]:
    number, pattern = ATTRIBUTES[code]
    return {
        "idDataAttribute": number,
        "code": code,
        "description": code,
        "formatWithUnit": pattern,
        "dataType": "float",
        "idDeviceType": kind,
        "textValue": None,
        "instance": instance,
        "timestamp": stamp,
        "rawValue": value,
        "formattedValue": str(value),
    }


def _sum(code: str, value: float, part: str, stamp: int) -> dict[str, Any]:
    number, pattern = ATTRIBUTES[part]
    return {
        "idDataAttribute": None,
        "code": code,
        "description": code,
        "formatWithUnit": pattern,
        "consistsOfAttributeCodes": [part],
        "dataAttributes": [{"instance": 0, "idDataAttribute": number, "code": part, "idDeviceType": 6}],
        "textValue": None,
        "timestamp": stamp,
        "rawValue": value,
        "formattedValue": str(value),
    }


def _value(code: str, values: dict[Quantity, float]) -> float | None:
    quantity = {
        "bs": Quantity.BATTERY_SOC,
        "bv": Quantity.BATTERY_VOLTAGE,
        "bc": Quantity.BATTERY_CURRENT,
        "g1": Quantity.GRID_POWER,
        "Pdc": Quantity.PV_POWER,
    }.get(code)
    return None if quantity is None else values.get(quantity)


def _number(value: Any) -> int | None:
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
