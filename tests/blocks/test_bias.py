import numpy as np
import pytest

from hwgen.ops import Bias
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.activations import check_all_values


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("kind", [int_type(4), uint_type(4), BIPOLAR, TERNARY])
def test_bias_adds_a_number_per_channel(kind, lanes):
    op = Bias(np.array([0, -9, 5, 16]))
    check_all_values(op, kind, op.result_type((kind,), ((1, 1, 4),)), 4, lanes)


def test_bias_of_non_negative_sums_is_unsigned():
    op = Bias(np.array([8]))
    assert op.result_type((int_type(4),), ((1, 1, 1),)) == uint_type(4)
    check_all_values(op, int_type(4), uint_type(4))
