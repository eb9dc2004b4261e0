"""Counting rules, on netlists written by hand."""

import pytest

from hwgen.errors import ToolError
from hwgen.netlist import FAMILIES, count_resources
from hwgen.resources import Resources

OUTPUTS = {"O", "CO", "Q", "O5", "O6"}


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
