import numpy as np
import pytest

from hwgen.blocks.activation_kinds import activation_of
from hwgen.ops import Table
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.activations import check_all_values


@pytest.mark.parametrize("kind", [BIPOLAR, TERNARY, uint_type(1), uint_type(5), int_type(4)])
@pytest.mark.parametrize("out_type", [BIPOLAR, TERNARY, int_type(7)])
def test_table_gives_any_function_of_every_type(kind, out_type):
    rng = np.random.default_rng(0)
    values = rng.integers(out_type.low, out_type.high + 1, (1, kind.high - kind.low + 1))
    values[~out_type.contains(values)] = 1
    check_all_values(Table(values, kind.low, out_type), kind, out_type)


@pytest.mark.parametrize("lanes", [1, 2, 3, 6])
def test_table_is_one_for_each_channel(lanes):
    rng = np.random.default_rng(1)
    op = Table(rng.integers(-8, 8, (6, 16)), -8, int_type(4))
    check_all_values(op, int_type(4), int_type(4), 6, lanes)


@pytest.mark.parametrize("channels, bits, style", [(1, 8, "logic"), (3, 12, "block")])
def test_large_tables_are_block_ram(channels, bits, style):
    rng = np.random.default_rng(2)
    kind = int_type(bits)
    op = Table(rng.integers(0, 256, (channels, 1 << bits)), kind.low, uint_type(8))
    assert activation_of(op, kind, uint_type(8), channels, 1).style == style
    check_all_values(op, kind, uint_type(8), channels, 1,
                     values=[kind.low, kind.high, *rng.integers(kind.low, kind.high, 100)])
