"""Data attributes of the simulated devices: id, code, description, format, and value or its formula.

Each line of the table is `id|code|description|format|type|D-Bus path|value`. A path may begin with a D-Bus
service and a colon, if it is not the device's. A value with `@` is a key of `sites.LIVE`; a value with `"` is
a number that VRM sends as a string; `-` is null; any other is a number, or a text if the format is `%s`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

RawValue = str | float | None


@frozen(kw_only=True)
class Attribute:
    """A data attribute of one kind of device."""

    id: int
    code: str
    description: str
    format: str
    """Format of PHP's sprintf, as VRM sends it."""
    type: str
    """`float`, `enum` or `string`."""
    device: str
    service: str | None
    path: str | None
    value: str
    enum: tuple[tuple[int, str], ...] = field(default=(), repr=False)

    @property
    def live(self) -> bool:
        """Whether its value changes with the household."""
        return self.value.startswith("@")


DEVICES: Final[Mapping[str, tuple[int, str, str | None]]] = {
    "gateway": (0, "Gateway", None),
    "vebus": (1, "VE.Bus System", "vebus"),
    "battery": (2, "Battery Monitor", "battery"),
    "solar": (4, "Solar Charger", "solarcharger"),
    "tank": (5, "Tank", "tank"),
    "system": (6, "System overview", "system"),
    "pvinverter": (7, "PV Inverter", "pvinverter"),
    "grid": (12, "Grid meter", "grid"),
    "temperature": (17, "Temperature sensor", "temperature"),
}
"""Number (`idDeviceType`), name and D-Bus service of each kind of device."""

_VEBUS_STATES: Final = (
    *enumerate(
        ("Off", "AES mode", "Fault", "Bulk", "Absorption", "Float", "Storage", "Equalize", "Passthru")
    ),
    (9, "Inverting"),
    (10, "Power assist"),
    (11, "Power supply"),
    (244, "Sustain"),
    (246, "Repeated Abs."),
    (247, "Equalize"),
    (248, "Battery safe"),
    (249, "Test"),
    (250, "Blocked"),
    (251, "Test"),
    (252, "Ext. control"),
)
_SYSTEM_STATES: Final = (
    *_VEBUS_STATES[:10],
    (10, "Assisting"),
    (11, "Power Supply Mode"),
    (244, "Sustain"),
    (246, "Repeated Abs."),
    (247, "Equalize"),
    (248, "Battery Safe"),
    (249, "Test"),
    (250, "Blocked"),
    (251, "Test"),
    (252, "Ext. control"),
    (256, "Discharging"),
    (257, "Sustain"),
    (258, "Recharging"),
    (259, "Sched charge"),
    (260, "Dynamic ESS"),
)
_FLUIDS: Final = (
    "Fuel",
    "Fresh water",
    "Waste water",
    "Live well",
    "Oil",
    "Black water (sewage)",
    "Gasoline",
    "Diesel",
    "LPG",
    "LNG",
    "Hydraulic oil",
    "Raw water",
)
_SENSORS: Final = ("Battery", "Fridge", "Generic", "Room", "Outdoor", "Water Heater", "Freezer")
_ALARM: Final = ((0, "No alarm"), (1, "Warning"), (2, "Alarm"))
_CHARGE_STATES: Final = (
    (0, "Off"),
    (2, "Fault"),
    (3, "Bulk"),
    (4, "Absorption"),
    (5, "Float"),
    (252, "External control"),
)
ENUMS: Final[Mapping[str, tuple[tuple[int, str], ...]]] = {
    "S": _VEBUS_STATES,
    "ss": _SYSTEM_STATES,
    "bst": ((0, "Idle"), (1, "Charging"), (2, "Discharging")),
    "si1": ((0, "Not available"), (1, "Grid"), (2, "Generator"), (3, "Shore power")),
    "si2": ((0, "Not available"), (1, "Grid"), (2, "Generator"), (3, "Shore power")),
    # VRM's own list has one name three times.
    "d": ((0, "VGR, VGR2 or VER"), (1, "Venus"), (2, "Venus"), (3, "Venus")),
    "s": ((1, "Charger Only"), (2, "Inverter Only"), (3, "On"), (4, "Off")),
    "ScS": _CHARGE_STATES,
    "ScMm": ((0, "Off"), (1, "Voltage/current limited"), (2, "MPPT active"), (255, "Not available")),
    "tst": tuple(enumerate(_SENSORS)),
    "tf": tuple(enumerate(_FLUIDS)),
    "Relay": ((0, "Open"), (1, "Closed")),
    "Agl": ((0, "Grid ok"), (2, "Grid lost")),
    "au": ((0, "Disabled"), (1, "Check and update"), (2, "Check only")),
    "vl": ((0, "Off"), (1, "On")),
    "pS": ((0, "Startup 0"), (7, "Running"), (8, "Standby"), (10, "Error")),
    # VRM sends names that are numbers as numbers.
    "GUIv": ((1, "1"), (2, "2")),
}

_TABLE: Final = """
gateway
1|d|gatewayID|%s|enum||1
2|v|Fw Version|%s|string||v3.55
4|lt|Latitude|%.5F LAT|float|gps:/Position/Latitude|@lt
5|lg|Longitude|%.5F LNG|float|gps:/Position/Longitude|@lg
7|build|Fw Build date|%s|string||20250701143020
8|mn|MachineName|%s|string||Cerbo GX
9|fd|Free space data|%.0F MB|float||"812
10|la1|load avg 1m|%.2F|float||0.31
11|la2|load avg 5m|%.2F|float||0.27
12|la3|load avg 10m|%.2F|float||0.24
13|au|Auto update|%s|enum||2
14|vl|VRM Log mode|%s|enum||1
15|sl|VRM Log interval|%.0F s|float|settings:/Settings/Vrmlogger/LogInterval|60
16|TO|VRM Log time offset|%.0F s|float||"0
17|tz|Time zone|%s|string||@tz
251|si1|AC Input 1 |%s|enum|settings:/Settings/SystemSetup/AcInput1|1
252|si2|AC Input 2|%s|enum|settings:/Settings/SystemSetup/AcInput2|0
577|rtt|D-Bus Round-trip time|%.0F ms|float||2
1722|GUIv|GUI version|%s|enum|platform:/Gui/RunningVersion|1
vebus
20|IV1|Input voltage phase 1|%.2F VAC|float|/Ac/ActiveIn/L1/V|@volts
21|II1|Input current phase 1|%.2F A|float|/Ac/ActiveIn/L1/I|@amps
23|IF1|Input frequency 1|%.2F Hz|float|/Ac/ActiveIn/L1/F|@hertz
24|IP1|Input power 1|%.0F VA|float|/Ac/ActiveIn/L1/P|@g
26|OV1|Output voltage phase 1|%.2F VAC|float|/Ac/Out/L1/V|@volts
29|OP1|Output power 1|%.0F VA|float|/Ac/Out/L1/P|@out
32|CV|Voltage|%.2F V|float|/Dc/0/Voltage|@bv
33|CI|Current|%.2F A|float|/Dc/0/Current|@bc
34|PC|Phase count|%.0F|float|/Ac/NumberOfPhases|"@phases
35|AILIM|Active input current limit|%.1F A|float|/Ac/ActiveIn/CurrentLimit|25
36|OF|Output frequency|%.2F Hz|float|/Ac/Out/L1/F|@hertz
40|S|VE.Bus state|%s|enum|/State|@state
41|ERR|VE.Bus Error|%s|enum|/VebusError|0
42|eT|Temperature|%s|enum|/Alarms/HighTemperature|0
43|eL|Low battery|%s|enum|/Alarms/LowBattery|@low
44|eO|Overload|%s|enum|/Alarms/Overload|0
45|eR|High DC Ripple|%s|enum|/Alarms/Ripple|0
79|s|Switch Position|%s|enum|/Mode|3
80|VSOC|VE.Bus state of charge|%.1F %|float|/Soc|@bs
81|Hcsp|Charge voltage setpoint|%.2F V|float|/BatteryOperationalLimits/MaxChargeVoltage|56.4
82|vvt|VE.Bus device|%s|string||MultiPlus-II 48/5000/70-50
83|vvv|VE.Bus firmware version|%s|string|/FirmwareVersion|506
84|aps1|Hub4 power setpoint phase 1|%.0F W|float|/Hub4/L1/AcPowerSetpoint|@bp
battery
47|V|Voltage|%.2F V|float|/Dc/0/Voltage|@bv
48|VS|Starter battery voltage|%.2F V|float|/Dc/1/Voltage|"12.68
49|I|Current|%.2F A|float|/Dc/0/Current|@bc
50|CE|Consumed Amphours|%.1F Ah|float|/ConsumedAmphours|@used
51|SOC|State of charge|%.1F %%|float|/Soc|@bs
52|TTG|Time to go|%.2F h|float|/TimeToGo|-
53|SOH|State of health|%.1F %%|float|/Soh|"98.4
54|BT|Battery temperature|%.0F °C|float|/Dc/0/Temperature|@temp
55|ca|Capacity|%.0F Ah|float|/Capacity|@ah
56|H1|Deepest discharge|%.1F Ah|float|/History/DeepestDischarge|"-171.2
57|H4|Charge cycles|%.0F|float|/History/ChargeCycles|611
58|H7|Minimum voltage|%.2F V|float|/History/MinimumVoltage|46.91
59|H8|Maximum voltage|%.2F V|float|/History/MaximumVoltage|55.87
60|H21|Discharged Energy|%.2F kWh|float|/History/DischargedEnergy|"5712.4
61|H22|Charged Energy|%.2F kWh|float|/History/ChargedEnergy|"6329.7
119|Alarm|Alarm|%s|enum|/Alarms/Alarm|0
123|ASoc|Low state-of-charge alarm|%s|enum|/Alarms/LowSoc|@low
124|AL|Low voltage alarm|%s|enum|/Alarms/LowVoltage|0
125|AH|High voltage alarm|%s|enum|/Alarms/HighVoltage|0
126|AHT|High battery temperature alarm|%s|enum|/Alarms/HighTemperature|0
182|Relay|Relay status|%s|enum|/Relay/0/State|0
173|mcV|System; minimum cell voltage|%.3F V|float|/System/MinCellVoltage|@cellmin
174|McV|System; maximum cell voltage|%.3F V|float|/System/MaxCellVoltage|@cellmax
175|mvc|CVL - Charge Voltage Limit|%.1F V|float|/Info/MaxChargeVoltage|56.4
solar
461|ScV|Voltage|%.2F V|float|/Dc/0/Voltage|@bv
442|ScI|Current|%.2F A|float|/Dc/0/Current|@sci
443|ScW|Battery watts|%.0F W|float|/Yield/Power|@pdc
444|PVV|PV voltage|%.2F V|float|/Pv/V|@pvv
445|PVP|PV power|%.0F W|float|/Yield/Power|@pdc
446|ScS|Charge state|%s|enum|/State|@solar
447|ScMm|MPPT State|%s|enum|/MppOperationMode|@mppt
448|YT|Yield today|%.2F kWh|float|/History/Daily/0/Yield|@yield
451|YU|User yield|%.2F kWh|float|/Yield/User|"8123.61
452|ScM|Solarcharger model|%s|string||SmartSolar MPPT VE.Can 250/100
454|ScERR|Error code|%s|enum|/ErrorCode|0
tank
329|tf|Tank fluid type|%s|enum|/FluidType|1
330|tl|Tank level|%.0F %%|float|/Level|@tank
331|tr|Tank remaining fluid|%.0F L|float|/Remaining|"@litres
system
111|P|PV - AC-coupled on output L1|%.0F W|float|/Ac/PvOnOutput/L1/Power|@pac
113|Pdc|PV - DC-coupled|%.0F W|float|/Dc/Pv/Power|@pdc
131|a1|AC Consumption L1|%.0F W|float|/Ac/Consumption/L1/Power|@a1
132|a2|AC Consumption L2|%.0F W|float|/Ac/Consumption/L2/Power|@a2
133|a3|AC Consumption L3|%.0F W|float|/Ac/Consumption/L3/Power|@a3
134|g1|Grid L1|%.0F W|float|/Ac/Grid/L1/Power|@g1
135|g2|Grid L2|%.0F W|float|/Ac/Grid/L2/Power|@g2
136|g3|Grid L3|%.0F W|float|/Ac/Grid/L3/Power|@g3
140|dc|DC System|%.0F W|float|/Dc/System/Power|-
143|bv|Voltage|%.2F V|float|/Dc/Battery/Voltage|@bv
144|bs|Battery SOC|%.1F %%|float|/Dc/Battery/Soc|@bs
147|bc|Current|%.2F A|float|/Dc/Battery/Current|@bc
148|ba|Battery Consumed Amphours|%.1F Ah|float|/Dc/Battery/ConsumedAmphours|"@used
149|bt|Battery Time to Go|%.2F h|float|/Dc/Battery/TimeToGo|-
215|bst|Battery state|%s|enum|/Dc/Battery/State|@bst
243|bp|Battery Power|%.0F W|float|/Dc/Battery/Power|@bp
559|Agl|Grid alarm|%s|enum|/Ac/Alarms/GridLost|0
570|st|System type|%s|string|/SystemType|ESS
571|ss|System state|%s|enum|/SystemState/State|@state
pvinverter
601|pM|PV Inverter Model|%s|string||Fronius Symo 5.0-3-M
602|pV1|L1 Voltage|%.1F V|float|/Ac/L1/Voltage|@volts
603|pP1|L1 Power|%.0F W|float|/Ac/L1/Power|@pac
604|pE1|L1 Energy|%.2F kWh|float|/Ac/L1/Energy/Forward|"9120.44
605|pS|Status|%s|enum|/StatusCode|@pvstate
606|ps|Serial|%s|string|/Serial|28360117
grid
620|gP|Grid meter model|%s|string||Carlo Gavazzi EM24
621|g1p|Grid L1 - Power|%.0F W|float|/Ac/L1/Power|@g1
622|g2p|Grid L2 - Power|%.0F W|float|/Ac/L2/Power|@g2
623|g3p|Grid L3 - Power|%.0F W|float|/Ac/L3/Power|@g3
624|g1f|Grid L1 - Energy from net|%.2F kWh|float|/Ac/L1/Energy/Forward|"2317.05
625|g1r|Grid L1 - Energy to net|%.2F kWh|float|/Ac/L1/Energy/Reverse|"3894.8
temperature
449|tst|Temperature type|%s|enum||2
450|tsT|Temperature|%.1F °C|float|/Temperature|@room
637|tscn|Temperature custom name|%s|string||Utility room
"""


def _read(table: str) -> tuple[Attribute, ...]:
    found, device = [], ""
    for line in table.split("\n"):
        parts = line.split("|")
        if len(parts) == 1:
            device = line or device
            continue
        number, code, description, number_format, kind, location, value = parts
        service, _, path = location.rpartition(":")
        found.append(
            Attribute(
                id=int(number),
                code=code,
                description=description,
                format=number_format,
                type=kind,
                device=device,
                service=(service or DEVICES[device][2]) if path else None,
                path=path or None,
                value=value,
                enum=ENUMS.get(code, _ALARM if kind == "enum" else ()),
            )
        )
    return tuple(found)


ATTRIBUTES: Final = _read(_TABLE)

PSEUDO: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "consumption": (("a1", "a2", "a3", "dc"), ("a1", "a2", "a3")),
    "solar_yield": (
        ("P", "P2", "P3", "Pi", "Pi2", "Pi3", "Pdc", "Pj", "Pj2", "Pj3"),
        ("P", "Pdc"),
    ),
    "from_to_grid": (("g1", "g2", "g3"), ("g1", "g2", "g3")),
    "generator": (("gs1", "gs2", "gs3"), ()),
    "ac_in": (("Pi", "Pi2", "Pi3"), ()),
    "ac_out": (("P", "P2", "P3"), ("P",)),
}
"""Values that VRM computes: the codes that it lists as their parts, and those that a site may have."""


def format_value(number_format: str, value: float) -> str:
    """Return a number in one of VRM's formats, as PHP's sprintf does."""
    python = number_format.replace("F", "f", 1)
    if python.endswith("%") and not python.endswith("%%"):
        python += "%"  # one of VRM's formats does not escape its percent sign
    return python % value
