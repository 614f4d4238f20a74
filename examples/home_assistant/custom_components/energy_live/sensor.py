"""One sensor for each quantity of each site."""

from homeassistant.components.sensor import SensorDeviceClass, SensorEntity, SensorStateClass
from homeassistant.const import (
    PERCENTAGE,
    UnitOfElectricCurrent,
    UnitOfElectricPotential,
    UnitOfEnergy,
    UnitOfPower,
    UnitOfTemperature,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity_platform import AddEntitiesCallback
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from energy_core import Quantity

from . import EnergyConfigEntry
from .const import DOMAIN
from .coordinator import EnergyCoordinator

# By the unit of the quantity: device class, Home Assistant's unit, state class.
KINDS = {
    "W": (SensorDeviceClass.POWER, UnitOfPower.WATT, SensorStateClass.MEASUREMENT),
    "%": (SensorDeviceClass.BATTERY, PERCENTAGE, SensorStateClass.MEASUREMENT),
    "V": (SensorDeviceClass.VOLTAGE, UnitOfElectricPotential.VOLT, SensorStateClass.MEASUREMENT),
    "A": (SensorDeviceClass.CURRENT, UnitOfElectricCurrent.AMPERE, SensorStateClass.MEASUREMENT),
    "degC": (SensorDeviceClass.TEMPERATURE, UnitOfTemperature.CELSIUS, SensorStateClass.MEASUREMENT),
    "kWh": (SensorDeviceClass.ENERGY, UnitOfEnergy.KILO_WATT_HOUR, SensorStateClass.TOTAL_INCREASING),
}


async def async_setup_entry(
    _hass: HomeAssistant, entry: EnergyConfigEntry, async_add_entities: AddEntitiesCallback
) -> None:
    """Add a sensor as soon as its quantity arrives for the first time."""
    coordinator, known = entry.runtime_data, set()

    @callback
    def add_new() -> None:
        new = coordinator.quantities() - known
        known.update(new)
        async_add_entities(QuantitySensor(coordinator, *each) for each in sorted(new))

    add_new()
    entry.async_on_unload(coordinator.async_add_listener(add_new))


class QuantitySensor(CoordinatorEntity[EnergyCoordinator], SensorEntity):
    """A quantity of a site; unavailable while the site is silent."""

    _attr_has_entity_name = True

    def __init__(self, coordinator: EnergyCoordinator, site_id: int, quantity: Quantity) -> None:
        super().__init__(coordinator)
        self._site_id, self._quantity = site_id, quantity
        # The account's label, not the token: ids survive an exchange of the token.
        account = coordinator.config_entry.unique_id
        self._attr_unique_id = f"{account}_{site_id}_{quantity}"
        self._attr_translation_key = str(quantity)
        self._attr_device_class, self._attr_native_unit_of_measurement, self._attr_state_class = KINDS[
            quantity.unit
        ]
        site = coordinator.sites.get(site_id)
        self._attr_device_info = DeviceInfo(
            identifiers={(DOMAIN, f"{account}_{site_id}")},
            manufacturer="Victron Energy",
            name=str(site_id) if site is None else site.name,
            configuration_url=f"https://vrm.victronenergy.com/installation/{site_id}/dashboard",
        )

    @property
    def available(self) -> bool:
        """Whether there is a value that is not too old."""
        return self.coordinator.present(self._site_id, self._quantity) is not None

    @property
    def native_value(self) -> float | None:
        """The value, in the unit and with the sign of the quantity."""
        found = self.coordinator.present(self._site_id, self._quantity)
        return None if found is None else found.value
