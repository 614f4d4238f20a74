import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.home import self_consumption, self_sufficiency, weighted_mean

FIGURES = st.one_of(st.none(), st.floats(), st.floats(0, 100))


@pytest.mark.parametrize("share", [self_consumption, self_sufficiency])
def test_the_formula(share):
    """One minus the part divided by the whole."""
    assert share(10.0, 2.5) == 0.75
    assert share(10.0, 0.0) == 1.0
    assert share(10.0, 10.0) == 0.0


@pytest.mark.parametrize("share", [self_consumption, self_sufficiency])
@pytest.mark.parametrize(
    "figures", [(None, 1.0), (1.0, None), (0.0, 0.0), (-1.0, 0.0), (1.0, 1.1), (1.0, -0.1), (math.nan, 1.0)]
)
def test_a_ratio_that_is_not_defined_is_none(share, figures):
    """An argument is missing, the whole is not positive, or the result is outside 0..1."""
    assert share(*figures) is None


def test_a_result_outside_by_rounding_only_is_clamped():
    """By at most 1e-9."""
    assert self_consumption(0.3, 0.1 + 0.2) == 0.0
    assert self_sufficiency(0.3, -1e-12) == 1.0


def test_a_mean_is_weighted():
    """Pairs without a value or a positive weight are left out."""
    assert weighted_mean([(0.5, 3.0), (0.9, 1.0)]) == pytest.approx(0.6)
    assert (
        weighted_mean([(0.5, 3.0), (None, 9.0), (0.1, None), (0.0, 0.0), (0.9, -1.0), (math.nan, 1.0)]) == 0.5
    )
    assert weighted_mean([]) is None
    assert weighted_mean([(None, 1.0), (0.5, 0.0)]) is None


@given(FIGURES, FIGURES)
def test_a_ratio_is_between_0_and_1_or_none(whole, lost):
    """For any arguments."""
    share = self_consumption(whole, lost)
    assert share is None or 0.0 <= share <= 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1e-6, 1e6)), min_size=1))
def test_a_mean_is_between_its_values(parts):
    """For any values and weights."""
    mean = weighted_mean(parts)
    values = [value for value, _ in parts]
    assert min(values) - 1e-9 <= mean <= max(values) + 1e-9
