"""Simulation of mapped netlists: exact counts of hand-made gates, primitives against arithmetic."""

import numpy as np
import pytest
from gate_designs import (
    BEATS,
    PART,
    TOP,
    add_lut,
    add_register,
    bytes_design,
    expected_bytes,
    wires,
)

from hwgen.activity import measure, settling_frames
from hwgen.errors import ToolError
from hwgen.flatten import flatten
from hwgen.gates import ONE, Gates
from hwgen.simulate import SimulationError
from hwgen.synth import has_netlists, mapped_netlists, synthesize


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A build directory in which the simulator is compiled once."""
    folder = tmp_path_factory.mktemp("gates") / "design"
    return folder, bytes_design(folder)


def frames(count=1, seed=5):
    return np.random.default_rng(seed).integers(0, 256, (count, BEATS, 1, 1))


def counted(place, gates: Gates, nets, x=None, number=2):
    """Settled and all changes per clock of nets, as they were numbered before."""
    folder, design = place
    before = [gates.find(net) for net in nets]
    order = {net: n for n, net in enumerate(sorted({gates.find(net)
                                                    for net in range(len(gates._same))}))}
    gates.finish()
    activity = measure(folder, design, gates, frames() if x is None else x, number)
    assert activity.clocks == number * BEATS
    at = [order[net] for net in before]
    return activity.settled[at] / activity.clocks, activity.transitions[at] / activity.clocks


def test_a_counters_bits_toggle_at_half_the_rate_of_the_bit_below(place):
    gates = wires()
    bits = [gates.new() for _ in range(3)]
    add_register(gates, add_lut(gates, 0b01, bits[0]), bits[0])
    add_register(gates, add_lut(gates, 0b0110, *bits[:2]), bits[1])
    add_register(gates, add_lut(gates, 0b01111000, *bits), bits[2])
    settled, changes = counted(place, gates, bits)
    assert settled.tolist() == changes.tolist() == [1, 0.5, 0.25]


def test_an_input_that_comes_later_makes_a_glitch(place):
    gates = wires()
    q = gates.new()
    add_register(gates, add_lut(gates, 0b01, q), q)
    late = add_lut(gates, 0b10, q)
    same = add_lut(gates, 0b0110, q, late)  # 0 but while the change is under way
    settled, changes = counted(place, gates, [q, late, same])
    assert settled.tolist() == [1, 1, 0]
    assert changes.tolist() == [1, 1, 2]


def test_carry_chains_and_multiplexers_make_no_glitch_of_their_own(place):
    gates = wires()
    q = gates.new()
    add_register(gates, add_lut(gates, 0b01, q), q)
    ways = [q]
    for _ in range(3):
        ways.append(gates.new())
        gates.lut(ways[-1], 0b10, [ways[-2]], at_once=True)
    same = gates.new()
    gates.lut(same, 0b0110, [q, ways[-1]], at_once=True)
    settled, changes = counted(place, gates, [ways[-1], same])
    assert settled.tolist() == changes.tolist() == [1, 0]


def test_a_register_that_is_not_enabled_keeps_its_value(place):
    gates = wires()
    slow, fast = gates.new(), gates.new()
    add_register(gates, add_lut(gates, 0b01, fast), fast)
    add_register(gates, add_lut(gates, 0b01, slow), slow, enable=fast)
    settled, _ = counted(place, gates, [slow])
    assert settled.tolist() == [0.5]


def test_activity_follows_the_input(place):
    still, busy = np.zeros((1, BEATS, 1, 1), int), np.tile([[[[0]], [[255]]]], (1, 32, 1, 1))
    for x, rate in ((still, 0.0), (busy.reshape(1, BEATS, 1, 1), 1.0)):
        gates = wires()
        out = add_lut(gates, 0b01, gates.ports["s_axis_tdata"][0])
        settled, _ = counted(place, gates, [out], x)
        assert settled.tolist() == [rate]


def test_carry_chains_that_form_a_loop_are_refused(tmp_path):
    gates = wires()
    one, other = gates.new(), gates.new()
    gates.lut(one, 0b01, [other], at_once=True)
    gates.lut(other, 0b10, [one], at_once=True)
    gates.finish()
    with pytest.raises(ToolError, match="^carry chains of the mapped design form a loop$"):
        gates.write(tmp_path / "netlist")


def test_a_design_that_stops_is_an_error(place):
    folder, design = place
    gates = wires()
    gates.ports["m_axis_tvalid"] = [0]
    gates.ports["s_axis_tready"] = [0]
    gates.finish()
    with pytest.raises(SimulationError) as caught:
        measure(folder, design, gates, frames(), 1)
    assert str(caught.value) == (f"{folder}: no beat moved for {2 * BEATS + BEATS + 1 + 1000} "
                                 "clocks in the mapped netlist")


def test_two_constants_on_a_net_are_an_error():
    gates = Gates()
    with pytest.raises(ToolError, match="^a net of the mapped design is wired to 0 and to 1$"):
        gates.join(0, ONE)


@pytest.fixture(scope="module", params=["xc7", "ecp5"])
def mapped(request, tmp_path_factory):
    """A synthesised design that uses each kind of primitive."""
    folder = tmp_path_factory.mktemp(request.param) / "design"
    design = bytes_design(folder, request.param, lanes=9)
    (folder / "rtl/hwgen_top.v").write_text(TOP)
    (folder / "rtl/part.v").write_text(PART)
    assert not has_netlists(folder)
    with pytest.raises(ToolError) as caught:
        mapped_netlists(folder)
    assert str(caught.value) == (f"{folder}: module part has no netlist of this Verilog; "
                                 "synthesize the design with `hwgen synth`")
    return folder, design, synthesize(folder, jobs=1)


def test_mapped_memories_and_multipliers_compute_what_the_verilog_says(mapped):
    folder, design, synthesis = mapped
    assert min(synthesis.total.bram36, synthesis.total.dsp, synthesis.total.lutram) > 0
    gates = flatten(design, mapped_netlists(folder))
    x = frames(2)
    beats = measure(folder, design, gates, x, 2).outputs
    stream = [int(v) for n in range(len(beats)) for v in x[n % 2].reshape(-1)]
    assert beats.reshape(-1, 9).tolist() == expected_bytes(stream)


def test_the_pipeline_is_full_before_the_count(mapped):
    assert settling_frames(mapped[1]) == 1
