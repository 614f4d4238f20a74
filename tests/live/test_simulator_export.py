"""The simulator's export compared with its household."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from energy_live.simulator import Simulator
from energy_live.simulator.voltstorage.export import ExportRequest, columns
from energy_live.simulator.voltstorage.products import export_values
from energy_live.simulator.world import build_world
from tests.servers.archive_run import account

NOW = datetime(2024, 11, 4, 9, 30, tzinfo=UTC)


def extract(start, end, *, product=0, **options):
    cast = build_world(1, NOW.timestamp())
    fields = options.pop("fields", columns(start.timestamp()))
    return ExportRequest(
        product=cast.products[product],
        start=start.timestamp(),
        end=end.timestamp(),
        fields=fields,
        **options,
    )


@pytest.mark.parametrize(
    "start", [datetime(2024, 10, 27, 0, 50, 7, tzinfo=UTC), datetime(2023, 3, 26, tzinfo=UTC)]
)
def test_rows_have_the_values_of_the_household(start):
    """Filled forward, each row has the household's values, also when the clocks change."""
    export = extract(start, start + timedelta(hours=2))
    household = export.product.household
    rows = dict(export.rows())
    state: list[float | None] = []
    for second in range(int(start.timestamp()), int(start.timestamp()) + 7100):
        cells = rows.get(second, [None] * 7)
        state = [known if cell is None else cell for cell, known in zip(cells, state or cells, strict=True)]
        assert tuple(state) == export_values(household.at(second))


@pytest.mark.parametrize("step", [1, 60, 7])
@pytest.mark.parametrize("tolerance", [0.0, 0.05])
def test_two_exports_have_the_rows_of_one(step, tolerance):
    """Two exports have the rows of one over both ranges, except that the first row has all values."""
    start = datetime(2024, 6, 1, 5, 0, 0, tzinfo=UTC)
    middle, end = start + timedelta(seconds=1801.7), start + timedelta(hours=1)
    whole = list(extract(start, end, step_s=step, tolerance=tolerance).rows())
    first = list(extract(start, middle, step_s=step, tolerance=tolerance).rows())
    second = list(extract(middle, end, step_s=step, tolerance=tolerance).rows())
    assert first == whole[: len(first)]
    assert all(cell is not None for cell in second[0][1])
    if not tolerance:
        assert second[1:] == [row for row in whole if row[0] > second[0][0]]
    assert all(moment % step == 0 for moment, _ in whole)


def test_a_product_that_was_never_installed_has_no_rows():
    """There are no rows before the installation."""
    start = datetime(2024, 6, 1, tzinfo=UTC)
    assert list(extract(start, NOW, product=2).rows()) == []
    early = datetime(2018, 6, 1, tzinfo=UTC)
    assert list(extract(early, early + timedelta(days=9)).rows()) == []


async def test_length_and_step_of_the_history():
    """`history_days` sets the age of the history, `export_step_s` the step between rows."""
    async with (
        Simulator(start=NOW, speed=1e-6, history_days=3, export_step_s=600) as sim,
        account(sim) as client,
    ):
        one, two, three = [product async for product in client.products.list()]
        assert one.installation_date == two.installation_date == one.manufacturing_date
        assert (three.installation_date, str(three.manufacturing_date)) == (None, "2024-11-01")
        async with client.export.rows(301, NOW - timedelta(days=9), NOW) as rows:
            got = [row.time async for row in rows]
    assert got[0] == datetime(2024, 10, 31, 23, 0, 0, got[0].microsecond, UTC)
    assert len(got) == (NOW - datetime(2024, 10, 31, 23, tzinfo=UTC)) // timedelta(minutes=10)


async def test_a_client_may_leave_early():
    """A client may close the connection early; the server keeps running."""
    async with Simulator(start=NOW, speed=1e-6) as sim, account(sim) as client:
        for _ in range(3):
            async with client.export.rows(301, NOW - timedelta(days=1), NOW) as rows:
                await anext(rows)
        assert len([product async for product in client.products.list()]) == 3


@pytest.mark.parametrize("options", [{"export_step_s": 0}, {"history_days": 0}])
def test_invalid_history_options(options):
    """`export_step_s` and `history_days` below 1 raise ValueError."""
    with pytest.raises(ValueError, match="at least 1"):
        Simulator(**options)
