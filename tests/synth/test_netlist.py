"""Counting rules, on netlists written by hand."""

import pytest

from hwgen.errors import ToolError
from hwgen.netlist import FAMILIES, count_resources
from hwgen.resources import Resources

OUTPUTS = {"O", "CO", "Q", "O5", "O6", "F", "SUM"}


def cell(kind, **connections):
    return {"type": kind, "connections": connections,
            "port_directions": {port: "output" if port in OUTPUTS else "input"
                                for port in connections}}


def count(cells, reads=(), family="xc7", black_boxes=()):
    """Resources of cells whose nets ``reads`` leave the module."""
    netlist = {"modules": {"m": {
        "ports": {"y": {"direction": "output", "bits": list(reads)}},
        "cells": {f"cell{number}": each for number, each in enumerate(cells)}}}}
    return count_resources(netlist, "m", family, black_boxes=black_boxes)


def carry(s, o, co, ci="0"):
    return cell("CARRY4", CI=[ci], CYINIT=["0"], DI=["0"] * 4, S=s, O=o, CO=co)


LOW = dict(o=[10, 11, 12, 13], co=[20, 21, 22, 23])
HIGH = dict(o=[30, 31, 32, 33], co=[40, 41, 42, 43], ci=23)


@pytest.mark.parametrize("kind, expected", [
    ("LUT1", Resources(lut=1)), ("LUT6", Resources(lut=1)), ("LUT6_2", Resources(lut=1)),
    ("INV", Resources(lut=1)), ("MUXF7", Resources()), ("FDRE", Resources(ff=1)),
    ("FDPE", Resources(ff=1)), ("SRL16E", Resources(lut=1, lutram=1)),
    ("SRLC32E", Resources(lut=1, lutram=1)), ("RAM32X1S", Resources(lut=1, lutram=1)),
    ("RAM32X1D", Resources(lut=2, lutram=2)), ("RAM64X1D", Resources(lut=2, lutram=2)),
    ("RAM128X1S", Resources(lut=2, lutram=2)), ("RAM32M", Resources(lut=4, lutram=4)),
    ("RAM64M", Resources(lut=4, lutram=4)), ("RAM128X1D", Resources(lut=4, lutram=4)),
    ("RAM256X1S", Resources(lut=4, lutram=4)), ("RAMB18E1", Resources(bram36=0.5)),
    ("RAMB36E1", Resources(bram36=1)), ("DSP48E1", Resources(dsp=1)),
])
def test_cost_of_a_7_series_primitive(kind, expected):
    assert count([cell(kind)]) == expected


@pytest.mark.parametrize("kind, expected", [
    ("LUT4", Resources(lut=1)), ("CCU2C", Resources(lut=2)), ("PFUMX", Resources()),
    ("TRELLIS_FF", Resources(ff=1)), ("TRELLIS_DPR16X4", Resources(lut=6, lutram=4)),
    ("DP16KD", Resources(bram36=0.5)), ("MULT18X18D", Resources(dsp=1)),
])
def test_cost_of_an_ecp5_primitive(kind, expected):
    assert count([cell(kind)], family="ecp5") == expected


@pytest.mark.parametrize("kind, expected", [
    ("LUT6_2", Resources(lut=1)), ("CARRY4", Resources()), ("CARRY8", Resources()),
    ("MUXF9", Resources()), ("FDRE", Resources(ff=1)), ("SRLC32E", Resources(lut=1, lutram=1)),
    ("RAM32M16", Resources(lut=8, lutram=8)), ("RAM64M8", Resources(lut=8, lutram=8)),
    ("RAM256X1D", Resources(lut=8, lutram=8)), ("RAM512X1S", Resources(lut=8, lutram=8)),
    ("RAMB36E2", Resources(bram36=1)), ("RAMB18E2", Resources(bram36=0.5)),
    ("DSP48E2", Resources(dsp=1)),
])
def test_cost_of_an_ultrascale_plus_primitive(kind, expected):
    assert count([cell(kind)], family="xcup") == expected


@pytest.mark.parametrize("kind, connections, expected", [
    ("SB_LUT4", {"O": [1], "I1": ["0"], "I2": ["0"]}, Resources(lut=1)),
    ("SB_DFFESR", {"Q": [1], "D": [2]}, Resources(lut=1, ff=1)),
    ("SB_DFFN", {"Q": [1], "D": ["1"]}, Resources(lut=1, ff=1)),
    ("SB_CARRY", {"CO": [1], "I0": [2], "I1": [3]}, Resources(lut=1)),
    ("SB_RAM40_4K", {}, Resources(bram36=1 / 9)), ("SB_RAM40_4KNRNW", {}, Resources(bram36=1 / 9)),
    ("SB_MAC16", {}, Resources(dsp=1)),
])
def test_cost_of_an_ice40_primitive_alone(kind, connections, expected):
    assert count([cell(kind, **connections)], family="ice40") == expected


def ice40_lut(out, i1=5, i2=6):
    return cell("SB_LUT4", O=[out], I1=[i1], I2=[i2])


def test_a_flip_flop_of_an_ice40_shares_the_cell_of_the_lut_that_drives_only_it():
    register = cell("SB_DFF", D=[1], Q=[2])
    assert count([ice40_lut(1), register], family="ice40") == Resources(lut=1, ff=1)
    assert count([ice40_lut(1), register], [1], family="ice40") == Resources(lut=2, ff=1)
    assert count([ice40_lut(1), register, register], family="ice40") == Resources(lut=3, ff=2)


def test_a_carry_of_an_ice40_shares_the_cell_of_one_lut_with_its_inputs():
    carry = cell("SB_CARRY", CO=[9], I0=[5], I1=[6])
    assert count([ice40_lut(1), carry], family="ice40").lut == 1
    assert count([ice40_lut(1), carry, carry], family="ice40").lut == 2
    assert count([ice40_lut(1, i1=6, i2=5), carry], family="ice40").lut == 2


@pytest.mark.parametrize("kind, expected", [
    ("LUT1", Resources(lut=1)), ("LUT4", Resources(lut=1)), ("MUX2_LUT5", Resources()),
    ("MUX2_LUT8", Resources()), ("RAM16SDP4", Resources(lut=8, lutram=4)),
    ("SPX9", Resources(bram36=0.5)), ("SDPB", Resources(bram36=0.5)),
    ("DPX9B", Resources(bram36=0.5)), ("pROM", Resources(bram36=0.5)),
    ("MULT9X9", Resources(dsp=0.5)), ("MULT18X18", Resources(dsp=1)),
    ("MULT36X36", Resources(dsp=4)),
])
def test_cost_of_a_gowin_primitive(kind, expected):
    assert count([cell(kind, **({"F": [1]} if kind.startswith("LUT") else {}))],
                 family="gowin") == expected


@pytest.mark.parametrize("kind", ["DFF", "DFFRE", "DFFSE", "DFFPE", "DFFNCE"])
def test_a_flip_flop_of_a_gowin_chip_is_reached_through_a_lut_of_its_own(kind):
    registers = [cell(kind, D=[1], Q=[2]), cell(kind, D=[1], Q=[3])]
    assert count(registers[:1], family="gowin") == Resources(lut=1, ff=1)
    for driver in (cell("LUT3", F=[1]), cell("ALU", SUM=[1])):
        assert count([driver, *registers[:1]], [1], family="gowin") == Resources(lut=1, ff=1)
        assert count([driver, *registers], family="gowin") == Resources(lut=2, ff=2)


@pytest.mark.parametrize("family, kind", [
    ("xcup", "URAM288"), ("xcup", "RAMB36E1"), ("ice40", "SB_SPRAM256KA"),
    ("gowin", "MULTALU36X18")])
def test_what_a_family_lacks_or_leaves_unused_is_refused(family, kind):
    with pytest.raises(ToolError,
                       match=f"^m: primitive {kind} of family {family} has no known cost$"):
        count([cell(kind)], family=family)


def test_a_latch_of_a_gowin_chip_is_refused():
    with pytest.raises(ToolError, match=r"m: 1 latches \(DLCE\) in the netlist"):
        count([cell("DLCE")], family="gowin")


def test_a_carry8_counts_up_to_the_highest_bit_that_is_read():
    nets = cell("CARRY8", CI=["0"], CI_TOP=["0"], DI=["0"] * 8, S=list(range(1, 9)),
                O=list(range(10, 18)), CO=list(range(20, 28)))
    assert count([nets], [16], family="xcup").lut == 7


def test_lutram_is_part_of_lut():
    assert all(cost.lutram <= cost.lut for costs, _ in FAMILIES.values() for cost in costs.values())


@pytest.mark.parametrize("top_bit", range(4))
def test_a_carry_bit_counts_up_to_the_highest_whose_sum_is_read(top_bit):
    assert count([carry([1, 2, 3, 4], **LOW)], [10 + top_bit]).lut == top_bit + 1


@pytest.mark.parametrize("top_bit", range(4))
def test_a_carry_bit_counts_up_to_the_highest_whose_carry_is_read(top_bit):
    assert count([carry([1, 2, 3, 4], **LOW)], [20 + top_bit]).lut == top_bit + 1


@pytest.mark.parametrize("kind", ["LUT1", "LUT6", "LUT6_2", "INV"])
def test_a_carry_bit_whose_s_input_a_lut_drives_costs_only_that_lut(kind):
    port = "O6" if kind == "LUT6_2" else "O"
    assert count([carry([1, 2, 3, 4], **LOW), cell(kind, **{port: [3]})], [13]).lut == 4


def test_a_flip_flop_at_s_needs_a_route_through():
    assert count([carry([1, 2, 3, 4], **LOW), cell("FDRE", Q=[2], D=[13])]) == Resources(4, 0, 1)


def test_a_constant_at_s_needs_a_lut():
    assert count([carry(["0", "1", "0", "0"], **LOW)], [11]).lut == 2


def test_a_carry_whose_outputs_nobody_reads_is_free():
    assert count([carry([1, 2, 3, 4], **LOW)]).lut == 0


def test_a_used_higher_bit_uses_the_whole_carry_below():
    cells = [carry([1, 2, 3, 4], **LOW), carry([5, 6, 7, 8], **HIGH)]
    assert count(cells, [31]).lut == 4 + 2


def test_an_unused_carry_does_not_use_the_one_below():
    cells = [carry([1, 2, 3, 4], **LOW), carry([5, 6, 7, 8], **HIGH)]
    assert count(cells, [10]).lut == 1


def test_the_order_of_cells_does_not_matter_to_a_carry_chain():
    cells = [carry([5, 6, 7, 8], **HIGH), carry([1, 2, 3, 4], **LOW)]
    assert count(cells, [30, 12]).lut == 4 + 1


def test_a_primitive_of_unknown_cost_is_refused_by_name():
    with pytest.raises(ToolError, match="^m: primitive FIFO18E1 of family xc7 has no known cost$"):
        count([cell("FIFO18E1")])


def test_a_latch_is_refused():
    with pytest.raises(ToolError, match=r"m: 2 latches \(LDCE\) in the netlist; a register lacks"):
        count([cell("LDCE"), cell("LDCE")])


def test_all_bad_primitives_are_named_at_once():
    with pytest.raises(ToolError) as caught:
        count([cell("FIFO18E1"), cell("LDPE"), cell("XADC")])
    assert len(caught.value.problems) == 3


def test_a_black_box_is_not_counted():
    assert count([cell("conv1"), cell("LUT3")], black_boxes=["conv1"]) == Resources(lut=1)
