"""Fixtures of the simulator: households, users, sites and products. All of them are invented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from attrs import evolve, frozen

from energy_live.simulator.household.day_curves import HouseholdConfig
from energy_live.simulator.household.household import Household
from energy_live.simulator.voltstorage.accounts import Owner
from energy_live.simulator.voltstorage.products import Product
from energy_live.simulator.vrm.accounts import DEMO_USER, User, invented
from energy_live.simulator.vrm.sites import Site

SITE_IDS: Final = (151001, 151002)
PRODUCT_IDS: Final = (301, 302, 303)
SMS_SITE: Final = 151003
DEMO_SITE: Final = 151022
FOREIGN_PRODUCT: Final = 900
MORE_SITES: Final = 160_001
"""Number of the first site that `Simulator.more_sites` adds."""


HOME: Final = HouseholdConfig(
    name="home",
    seed=0,
    timezone="Europe/Amsterdam",
    latitude=52.0907,
    longitude=5.1214,
    pv_peak_w=6200.0,
    base_load_w=520.0,
    battery_wh=9600.0,
    battery_power_w=3600.0,
)
"""A home with three phases, measured by VRM and VoltStorage."""
RIAD: Final = HouseholdConfig(
    name="riad",
    seed=0,
    timezone="Africa/Casablanca",
    latitude=31.6295,
    longitude=-7.9811,
    pv_peak_w=4100.0,
    base_load_w=380.0,
    battery_wh=14_400.0,
    battery_power_w=3000.0,
)
"""A house in a time zone that changes its offset for Ramadan."""
FLAT: Final = HouseholdConfig(
    name="flat",
    seed=0,
    timezone="Europe/Berlin",
    latitude=48.1372,
    longitude=11.5756,
    pv_peak_w=2400.0,
    base_load_w=270.0,
    battery_wh=6200.0,
    battery_power_w=1500.0,
)
HARBOUR: Final = HouseholdConfig(
    name="harbour",
    seed=0,
    timezone="Europe/Amsterdam",
    latitude=52.3491,
    longitude=5.2286,
    pv_peak_w=900.0,
    base_load_w=160.0,
    battery_wh=4800.0,
    battery_power_w=1200.0,
)


@frozen(kw_only=True)
class World:
    """All fixtures of one seed."""

    user: User
    sms_user: User
    demo_user: User
    owner: Owner
    stranger: Owner
    sites: tuple[Site, ...]
    products: tuple[Product, ...]


def build_world(seed: int, start: float, *, history_days: int | None = None, more_sites: int = 0) -> World:
    """Return the fixtures of a seed.

    Args:
        seed: Determines passwords, tokens and weather.
        start: Unix seconds; one product went offline three days earlier.
        history_days: If given, all batteries and sites were installed this many days before `start`.
        more_sites: Number of further sites of the main user, each with its own weather.
    """
    homes = tuple(Household(config=evolve(config, seed=seed)) for config in (HOME, RIAD, FLAT, HARBOUR))
    user = _user(seed, 1001, "Alex Meijer", "alex@example.com")
    sms_user = _user(seed, 1002, "Noor Haddad", "noor@example.com", sms=True)
    demo_user = _user(seed, DEMO_USER, "demo demo", "demo@example.com")
    owner = Owner(
        id=41, name="Alex Meijer", email="alex@example.com", password=invented(seed, "volt/41")[:20]
    )
    stranger = Owner(
        id=42, name="Robin Vos", email="robin@example.com", password=invented(seed, "volt/42")[:20]
    )
    sites = (
        *_sites((user, user, sms_user, demo_user), homes, start),
        *_more_sites(seed, user, start, more_sites),
    )
    if history_days is not None:
        sites = tuple(evolve(site, created=int(start - history_days * 86_400.0)) for site in sites)
    return World(
        user=user,
        sms_user=sms_user,
        demo_user=demo_user,
        owner=owner,
        stranger=stranger,
        sites=sites,
        products=tuple(_products(owner, stranger, homes, start, history_days)),
    )


def _user(seed: int, number: int, name: str, email: str, *, sms: bool = False) -> User:
    return User(id=number, name=name, email=email, password=invented(seed, f"vrm/{number}")[:20], sms=sms)


def _sites(users: Sequence[User], homes: Sequence[Household], start: float) -> Iterator[Site]:
    whole: dict[str, tuple[int, ...]] = {"gateway": (0,), "system": (0,), "vebus": (257,), "battery": (288,)}
    steady = start - 14 * 86_400.0
    yield Site(
        id=SITE_IDS[0],
        name="Elm Street 12",
        identifier="c0619ab10001",
        user=users[0].id,
        household=homes[0],
        instances=whole | {"solar": (279,), "grid": (30,), "tank": (20, 21), "temperature": (23, 24)},
        phases=3,
        log_offset_s=13.0,
        steady_since=steady,
    )
    yield Site(
        id=SITE_IDS[1],
        name="Dar Atlas",
        identifier="c0619ab10002",
        user=users[1].id,
        household=homes[1],
        instances=whole | {"battery": (0,), "pvinverter": (21,)},
        dc_coupled=False,
        log_offset_s=41.0,
        created=1_610_000_000,
        steady_since=steady,
        tracked=True,
    )
    for number, name, user, home in (
        (SMS_SITE, "Canal flat", users[2], homes[2]),
        (DEMO_SITE, "Demo harbour", users[3], homes[3]),
    ):
        yield Site(
            id=number,
            name=name,
            identifier=f"c0619ab{number}",
            user=user.id,
            household=home,
            instances=whole | {"solar": (279,)},
            log_offset_s=27.0,
            created=1_640_000_000,
            steady_since=steady,
            access_level=0 if user.id == DEMO_USER else 1,
            demo=user.id == DEMO_USER,
        )


def _more_sites(seed: int, user: User, start: float, count: int) -> Iterator[Site]:
    for number in range(MORE_SITES, MORE_SITES + count):
        config = evolve(FLAT, name=f"flat-{number}", seed=seed)
        yield Site(
            id=number,
            name=f"Flat {number}",
            identifier=f"c0619ab{number}",
            user=user.id,
            household=Household(config=config),
            instances={"gateway": (0,), "system": (0,), "vebus": (257,), "battery": (288,), "solar": (279,)},
            log_offset_s=float(number % 60),
            created=1_640_000_000,
            steady_since=start - 14 * 86_400.0,
        )


def _products(
    owner: Owner, stranger: Owner, homes: Sequence[Household], start: float, history_days: int | None
) -> Iterator[Product]:
    young = None if history_days is None else homes[0].day_of(start - history_days * 86_400.0).isoformat()
    for number, product_owner, home, manufactured, installed in (
        (PRODUCT_IDS[0], owner, homes[0], "2019-05-21", "2019-08-02"),
        (PRODUCT_IDS[1], owner, homes[2], "2021-02-10", "2021-04-12"),
        (PRODUCT_IDS[2], owner, homes[1], "2022-11-04", None),
        (FOREIGN_PRODUCT, stranger, homes[3], "2020-01-15", "2020-03-01"),
    ):
        yield Product(
            id=number,
            serial=f"AA0{number}",
            owner=product_owner.id,
            owner_name=product_owner.name,
            owner_email=product_owner.email,
            group=product_owner.id + 20,
            household=home,
            manufactured=young or manufactured,
            installed=installed and (young or installed),
            offline_since=start - 3 * 86_400.0 if number == PRODUCT_IDS[1] else None,
        )
