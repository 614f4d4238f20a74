"""Decodes VoltStorage's answers and messages: names on the wire, shapes of answers, and error messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, TypeAlias, TypeVar

from attrs import evolve

from energy_core.codec.coerce import number, seconds
from energy_core.codec.drift import report
from energy_core.codec.json import JSON, strict_json
from energy_core.codec.structure import model, records
from energy_core.errors import (
    AnswerError,
    AuthFailed,
    BadRequest,
    DecodeError,
    NotFound,
    PermissionDenied,
    RequestError,
    ServerFault,
)
from energy_core.http.operation import Operation, Response
from energy_core.http.pages import Page
from energy_core.http.refusal import is_refusal, refusal_message
from energy_core.secret import Secret
from voltstorage_async.event_types import LatestData, ProductEvent, UnknownProductEvent
from voltstorage_async.field_reader import EARLIEST_SECOND, EARLIEST_YEAR
from voltstorage_async.models import (
    Latest,
    Owner,
    Product,
    ProductGroup,
    ProductType,
    Sampled,
    Statistics,
    Weighted,
)

VENDOR: Final = "voltstorage"

T = TypeVar("T")

_REFUSALS: Final[Mapping[int, type[RequestError]]] = {
    400: BadRequest,
    401: AuthFailed,
    403: PermissionDenied,
    404: NotFound,
    422: BadRequest,
}


# --- products ---------------------------------------------------------------------------------------------

# Parts are declared before the models that hold them, which find their hooks by type.
model(Owner)
model(ProductGroup, wire={"owner_id": "ownerId"})
model(ProductType, wire={"start_of_production": "startOfProduction", "base_type": "baseType"})
_product = model(
    Product,
    wire={
        "owner_name": "ownerName",
        "serial_number": "serialNumber",
        "hardware_version": "hardwareVersion",
        "manufacturing_date": "manufacturingDate",
        "installation_date": "installationDate",
        "created_at": "createdAt",
        "updated_at": "updatedAt",
        "type_id": "typeId",
        "group_id": "groupId",
    },
)
_products = records(_product, "Product")


def product_page(body: JSON) -> Page[Product]:
    """Decode one page of the product list: an array without an envelope or a total."""
    sent, products = _array(body, "product list"), _products(body)
    return Page(products, len(sent), unread=sent if len(products) < len(sent) else ())


# --- data -------------------------------------------------------------------------------------------------


def latest(product_id: int) -> Callable[[JSON], Latest]:
    """Return a decoder of both shapes of the latest data: ``{"time", "data"}``, or the data alone."""

    def read(body: JSON) -> Latest:
        if not isinstance(body, dict):
            raise DecodeError("the latest data is not an object", kind="shape")
        data = body.get("data")
        # A data field may be called `data` too; only an object, or null next to a time, is the envelope.
        if not isinstance(data, dict) and not ("time" in body and data is None and "data" in body):
            return Latest(product_id=product_id, data=body)
        time = event_time(body.get("time"))
        if time is None and not (body.get("time") is None and not data):  # there are no data yet
            report("Latest", "time", "unreadable")
        return Latest(product_id=product_id, time=time, data=data or {})

    return read


def _part(hook: Callable[[object], T]) -> Callable[[object], T | None]:
    """Return a hook that decodes a missing or malformed part as None."""

    def read(value: object) -> T | None:
        try:
            return hook(value) if isinstance(value, Mapping) else None
        except DecodeError:
            return None

    return read


_sampled_as_sent = _part(model(Sampled, wire={"n_samples": "nSamples"}))
_weighted_as_sent = _part(model(Weighted, wire={"total_weight": "totalWeight"}))


def _sampled(value: object) -> Sampled | None:
    mean = _sampled_as_sent(value)
    # The vendor sends 0 as the value of a mean without samples.
    return mean if mean is None or mean.n_samples else evolve(mean, value=None)


def _weighted(value: object) -> Weighted | None:
    mean = _weighted_as_sent(value)
    return mean if mean is None or mean.total_weight else evolve(mean, value=None)


def event_time(value: object) -> datetime | None:
    """Return a time as an aware datetime in UTC; None if it is missing, malformed or before `EARLIEST_YEAR`.

    Accepted are unix seconds or milliseconds, as numbers or text, and ISO 8601 text with a zone.
    """
    since_epoch = number(value)
    time: datetime | None
    if since_epoch is not None:
        time = seconds(since_epoch / 1000 if abs(since_epoch) >= _MILLISECONDS else since_epoch)
    else:
        try:
            read = datetime.fromisoformat(value.strip()) if isinstance(value, str) else None
            time = None if read is None or read.utcoffset() is None else read.astimezone(UTC)
        except (ValueError, OverflowError):
            return None
    return None if time is None or time.year < EARLIEST_YEAR else time


_MILLISECONDS: Final = 1e11
"""Larger times are milliseconds; in seconds this is the year 5138."""


_statistics = records(
    model(
        Statistics,
        wire={
            "start": "timespan_start",
            "pv_total_j": "pv-total",
            "pv_activity": "pv-activity",
            "consumption_total_j": "consumption-total",
            "storage_total_released_j": "storage-total-released",
            "storage_total_stored_j": "storage-total-stored",
            "max_temperature": "max-temperature",
            "own_consumption": "own-consumption",
            "electrolyte_temp": "electrolyte-temp",
            "pump_temp": "pump-temp",
            "dc_capacity_j": "dc-capacity",
            "ac_capacity_j": "ac-capacity",
            "dc_efficiency": "dc-efficiency",
            "ac_efficiency": "ac-efficiency",
            "self_sufficiency": "self-sufficiency",
        },
        read={
            "start": event_time,
            "own_consumption": _sampled,
            "electrolyte_temp": _sampled,
            "pump_temp": _sampled,
            "dc_capacity_j": _sampled,
            "ac_capacity_j": _sampled,
            "dc_efficiency": _sampled,
            "ac_efficiency": _sampled,
            "self_sufficiency": _weighted,
        },
    ),
    "Statistics",
)


def statistics(body: JSON) -> tuple[Statistics, ...]:
    """Decode statistics: an array with one object for each period."""
    _array(body, "statistics")
    return _statistics(body)


def login_token(body: JSON) -> Secret:
    """Return the token in the answer to a login."""
    token = body.get("token") if isinstance(body, dict) else None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token.strip():
        raise DecodeError("the login's answer holds no usable token", kind="shape")
    return Secret(token)


def _array(body: JSON, name: str) -> list[JSON]:
    if not isinstance(body, list):
        raise DecodeError(f"the {name} is not an array", kind="shape")
    return body


# --- events -----------------------------------------------------------------------------------------------


Message: TypeAlias = tuple[dict[str, JSON], datetime | None, int, Mapping[str, JSON]]
"""A decoded message: the whole object, its time, the same in unix seconds, and its data.

The time is None if the message is not latest-data, or is without a usable time.
"""
_NO_DATA: Final[Mapping[str, JSON]] = MappingProxyType({})


def event_message(frame: bytes) -> Message:
    """Decode one WebSocket message.

    Raises:
        DecodeError: It is not a JSON object.
    """
    raw = strict_json(frame)
    if type(raw) is not dict:
        raise DecodeError("the message is not an object", kind="shape", size=len(frame))
    try:
        kind, second, data = raw["type"], raw["time"], raw["data"]
    except KeyError:
        return raw, None, 0, _NO_DATA
    if type(data) is not dict or kind != "latest-data":
        return raw, None, 0, _NO_DATA
    if type(second) is int and second >= EARLIEST_SECOND:  # as documented; faster than `event_time`
        try:
            return raw, _from_timestamp(second, UTC), second, data
        except (OverflowError, OSError, ValueError):
            pass
    time = event_time(second)
    if time is None:
        return raw, None, 0, _NO_DATA
    time = time.replace(microsecond=0)  # ids of events name whole seconds
    return raw, time, int(time.timestamp()), data


def messages_in(frame: bytes) -> list[bytes | None] | None:
    """Return the messages of a frame that holds an array of them, with None for each that is not an object.

    Returns None if the frame is anything else, or has more than 1,000 messages.
    """
    try:
        found = strict_json(frame)
    except DecodeError:
        return None
    if not isinstance(found, list) or not 0 < len(found) <= _MAX_MESSAGES_IN_FRAME:
        return None
    return [json.dumps(each).encode() if isinstance(each, dict) else None for each in found]


_MAX_MESSAGES_IN_FRAME: Final = 1000


_from_timestamp: Final = datetime.fromtimestamp


def product_event(product_id: int, frame: bytes) -> ProductEvent:
    """Decode one WebSocket message as a product's event.

    Raises:
        DecodeError: It is not a JSON object.
    """
    raw, time, _, data = event_message(frame)
    if time is None:
        return UnknownProductEvent(product_id=product_id, raw=raw)
    return LatestData(product_id=product_id, time=time, data=data, raw=raw)


# --- refusals ---------------------------------------------------------------------------------------------


def check(response: Response, body: JSON, operation: Operation) -> None:
    """Raise the vendor's error with its message. An error status without a message is left to the client.

    Raises:
        AnswerError, AuthFailed: The answer is an error.
    """
    if response.status < 400 and not is_refusal(body):
        return
    words = operation.quote(refusal_message(body))
    if words or response.status < 400:
        kind = _REFUSALS.get(response.status, ServerFault if response.status >= 500 else AnswerError)
        error = kind(words or "the vendor refused", status=response.status)
        error.vendor_message = words
        raise error
