"""Products in DSP slices: how many share one, and that none disturbs another."""

import subprocess

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st

from hwgen.arith.dsp import MAC, RESULT, WEIGHT_PORT, DspDotProduct, carrying, plan_slices
from hwgen.files import render_template
from hwgen.synth import synthesize_module
from hwgen.tools import yosys
from hwgen.tools.verilator import find_verilator
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.arith.test_technology import exported


def ends(kind):
    return kind.low, kind.high


@pytest.mark.parametrize("a_width, weight_type, fields, per_chain", [
    (4, int_type(4), 3, 4), (8, int_type(4), 2, 274), (8, int_type(8), 1, 1000),
    (16, int_type(8), 1, 1000), (4, uint_type(4), 3, 4)])
def test_products_share_a_slice_as_far_as_their_sums_stay_apart(a_width, weight_type, fields,
                                                                per_chain):
    plan = plan_slices(1000, 12, a_width, weight_type, ends(weight_type))
    assert plan.fields == fields
    assert plan.chains == -(-1000 // per_chain)
    assert plan.slices == 1000 * (12 // fields)


def test_without_the_lowest_weight_two_sums_of_two_8_bit_products_share_a_slice():
    plan = plan_slices(4, 2, 8, int_type(8), (-127, 127))
    assert (plan.fields, plan.spacing, plan.chains) == (2, 17, 2)


@given(st.integers(1, 17), st.integers(2, 12), st.booleans(), st.integers(1, 40),
       st.integers(1, 6))
def test_extreme_sums_stay_within_their_fields_and_operands_within_their_ports(
        a_width, width, signed, lanes, outputs):
    kind = int_type(width) if signed else uint_type(width)
    plan = plan_slices(lanes, outputs, a_width, kind, ends(kind))
    if plan is None:
        return
    for length in plan.lengths:
        assert plan.width_of(length) <= plan.spacing
    assert plan.fields * plan.spacing <= RESULT
    low, high = (sum(w << k * plan.spacing for k in range(plan.fields)) for w in ends(kind))
    assert low >= -(1 << WEIGHT_PORT - 1)
    assert high < 1 << WEIGHT_PORT - 1


@pytest.mark.parametrize("kind", [BIPOLAR, TERNARY], ids=lambda t: t.name)
def test_weights_of_one_digit_get_no_slices(kind):
    assert plan_slices(4, 4, 8, kind, ends(kind)) is None


def test_operands_wider_than_a_slice_get_none():
    assert plan_slices(4, 4, 18, int_type(8), ends(int_type(8))) is None
    assert plan_slices(4, 4, 8, int_type(26), ends(int_type(26))) is None


@pytest.mark.parametrize("lanes, outputs, a_width, weight_type", [
    (1, 3, 4, int_type(4)), (9, 4, 4, int_type(4)), (5, 2, 8, int_type(8)), (4, 3, 8, uint_type(8)),
    (3, 5, 3, int_type(2)), (7, 2, 8, int_type(4))], ids=str)
def test_sums_are_exact_every_clock(lanes, outputs, a_width, weight_type):
    plan = plan_slices(lanes, outputs, a_width, weight_type, ends(weight_type))
    dut = DspDotProduct(plan, 40)
    rng = np.random.default_rng(0)
    clocks = 40
    a = rng.integers(0, 1 << a_width, (clocks, lanes))
    w = rng.integers(weight_type.low, weight_type.high + 1, (clocks, outputs, lanes))
    a[:4], w[0], w[1] = (1 << a_width) - 1, weight_type.low, weight_type.high
    w[2] = np.where(np.arange(outputs)[:, None] % 2, weight_type.low, weight_type.high)
    w[3] = np.where(np.arange(outputs)[:, None] % 2, weight_type.high, weight_type.low)
    expected = (w @ a[:, :, None])[..., 0] - lanes * plan.lowest

    def word(values, width):
        return sum((int(v) & (1 << width) - 1) << n * width for n, v in enumerate(values))

    found = []

    # Each lane comes some clocks after the first.
    late_a, late_w = np.zeros((clocks + lanes, lanes), int), np.zeros(
        (clocks + lanes, outputs, lanes), int)
    for lane, lag in enumerate(plan.lags):
        late_a[lag:lag + clocks, lane] = a[:, lane]
        late_w[lag:lag + clocks, :, lane] = w[:, :, lane]

    async def bench(ctx):
        for t in range(clocks + dut.latency):
            if t < len(late_a):
                ctx.set(dut.a, word(late_a[t], a_width))
                ctx.set(dut.w, word(late_w[t].reshape(-1), weight_type.width))
            if t >= dut.latency:
                found.append([ctx.get(dut.o) >> p * dut.width & (1 << dut.width) - 1
                              for p in range(outputs)])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == expected.tolist()


@pytest.mark.parametrize("lanes, outputs, a_width, weight_type, slices", [
    (2, 3, 4, int_type(4), 2), (4, 2, 8, uint_type(4), 4), (9, 2, 8, int_type(4), 9)])
def test_synthesis_takes_the_slices_and_no_adders(tmp_path, lanes, outputs, a_width, weight_type,
                                                  slices):
    plan = plan_slices(lanes, outputs, a_width, weight_type, ends(weight_type))
    file = exported(tmp_path, DspDotProduct(plan, 40), "dot")
    with file.open("a") as text:
        text.write(render_template(f"{MAC}.v.j2", {"dsp48e1": True}))
    found = synthesize_module(file, "dot", "xc7", log=tmp_path / "synth.log")
    assert found.dsp == plan.slices == slices
    # What the second weight borrows from the third.
    borrows = slices * (weight_type.width + 1) if plan.fields == 3 else 0
    assert found.lutram == 0
    assert found.lut <= borrows


def bench_passes(folder, bench: str, top: str, sources: list[str], *options: str) -> bool:
    """Whether a C++ bench around a module ends with 0."""
    (folder / "bench.cpp").write_text(bench)
    tool = find_verilator()
    subprocess.run(tool.command(
        "--cc", "--exe", "--build", "-Wno-fatal", "-Wno-lint", "--top-module", top, *options,
        "--Mdir", str(folder / "obj"), *(
            item for name in tool.make_settings("-O1", "-O1") for item in ("-MAKEFLAGS", name)),
        *(str(folder / name) for name in (*sources, "bench.cpp"))),
        env=tool.environment(), check=True, capture_output=True)
    return subprocess.run([str(folder / "obj" / f"V{top}")], check=False).returncode == 0


ROWS_BENCH = """
#include "Vboth.h"
int main() {
  Vboth top;
  for (int n = 0; n < 2000; n++) {
    top.clk = 0; top.eval(); top.clk = 1; top.eval();
    if (n > 40 && !top.same) return 1;
  }
  return 0;
}
"""


def rows_agree(folder, plan, *, broken: str = "") -> bool:
    """Whether exported slices give what simulated ones do, over 2 000 clocks of random operands."""
    text = render_template(f"{MAC}.v.j2", {"dsp48e1": False})
    before, _, after = broken.partition(" -> ")
    assert before in text
    file = exported(folder, DspDotProduct(plan, 40), "exported")
    with file.open("a") as stream:
        stream.write(text.replace(before, after) if broken else text)
    dot = DspDotProduct(plan, 40)
    (folder / "s.il").write_text(rtlil.convert(dot, name="simulated", platform=None))
    yosys.run(["read_rtlil s.il", "proc", "flatten", "opt_clean",
               "write_verilog -norename simulated.v"], log=folder / "s.log", folder=folder)
    a, w, c, o = len(dot.a), len(dot.w), len(dot.carried), len(dot.o)
    carried = ", .carried(c)" if c else ""
    names = "exported", "simulated"
    (folder / "both.v").write_text(f"""
module both(input clk, output same);
  reg [{a - 1}:0] a; reg [{w - 1}:0] w; reg en, first;
  reg [{max(c, 1) - 1}:0] c;
  always @(posedge clk) begin
    a <= {{{a // 32 + 1}{{$urandom}}}};
    w <= {{{", ".join(["$urandom"] * (w // 32 + 1))}}};
    c <= {{{", ".join(["$urandom"] * (c // 32 + 1))}}};
    {{en, first}} <= $urandom;
  end
  wire [{o - 1}:0] {", ".join(f"o_{name}" for name in names)};
  {" ".join(f"{name} {name}_(.clk, .rst(1'b0), .a, .w, .en, .first{carried}, .o(o_{name}));"
            for name in names)}
  assign same = o_exported == o_simulated;
endmodule
""")
    return bench_passes(folder, ROWS_BENCH, "both", ["both.v", "exported.v", "simulated.v"])


@pytest.mark.parametrize("lanes, outputs, a_width, weight_type, steps", [
    (1, 3, 4, int_type(4), 1), (9, 4, 4, int_type(4), 1), (5, 5, 8, int_type(8), 1),
    (4, 3, 8, uint_type(8), 1), (3, 5, 3, int_type(2), 1), (5, 7, 4, uint_type(3), 1),
    (7, 3, 8, int_type(4), 1), (1, 3, 8, int_type(4), 9), (1, 4, 4, int_type(4), 2)], ids=str)
def test_exported_slices_do_what_simulated_ones_do(tmp_path, lanes, outputs, a_width, weight_type,
                                                   steps):
    plan = plan_slices(lanes, outputs, a_width, weight_type, ends(weight_type), steps)
    assert plan.steps == steps
    assert rows_agree(tmp_path, plan)


@pytest.mark.parametrize("lanes, outputs, a_width, weight_type, width", [
    (1, 2, 8, int_type(4), 14), (5, 4, 8, int_type(4), 16), (3, 3, 8, int_type(8), 19),
    (4, 5, 4, uint_type(3), 10)], ids=str)
def test_exported_slices_that_carry_sums_do_what_simulated_ones_do(tmp_path, lanes, outputs,
                                                                   a_width, weight_type, width):
    plan = carrying(plan_slices(lanes, outputs, a_width, weight_type, ends(weight_type)), width)
    assert plan.carries
    assert rows_agree(tmp_path, plan)


def test_slices_that_carry_sums_add_their_products_to_them():
    plan = carrying(plan_slices(3, 3, 8, int_type(4), (-8, 7)), 16)
    assert (plan.fields, plan.slices) == (2, 6)
    dut = DspDotProduct(plan, 16)
    a, w = [200, 255, 3], [[-8, 7, 1], [5, -6, 7], [-8, -8, -8]]
    carried = [30000, -1234, 5]
    of_slices = [carried[0] + (carried[1] << 16), carried[2]]
    expected = [c + sum(x * y for x, y in zip(a, row)) for c, row in zip(carried, w)]
    expected = [expected[0] + (expected[1] << 16), expected[2]]

    async def bench(ctx):
        ctx.set(dut.a, sum(x << n * 8 for n, x in enumerate(a)))
        ctx.set(dut.w, sum((x & 15) << n * 4 for n, x in enumerate(np.ravel(w).tolist())))
        ctx.set(dut.carried, of_slices[0] & (1 << 32) - 1 | (of_slices[1] & (1 << 16) - 1) << 32)
        await ctx.tick().repeat(dut.latency)
        found = ctx.get(dut.o)
        assert found & (1 << 32) - 1 == expected[0] & (1 << 32) - 1
        assert found >> 32 == expected[1] & (1 << 16) - 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_sums_too_wide_to_share_slices_are_not_carried():
    plan = plan_slices(3, 2, 8, int_type(4), (-8, 7))
    assert plan.fields == 2
    assert carrying(plan, 21) is None


@pytest.mark.parametrize("broken", [
    "{1'b0}}, below} -> {1'b0}}, 1'b0}", "{SPACING - W_WIDTH{below}} -> {SPACING - W_WIDTH{1'b0}}",
    "cascade[(n * GROUPS + g) * 48 -> cascade[g * 48"])
def test_wrong_exported_slices_differ(tmp_path, broken):
    plan = plan_slices(9, 4, 4, int_type(4), ends(int_type(4)))
    assert not rows_agree(tmp_path, plan, broken=broken)


BENCH = """
#include "Vpair.h"
#include <cstdio>
#include <random>
int main() {
  Vpair top;
  std::mt19937_64 rng(1);
  const int corners[] = {0, 1, -1, 131071, -131072, 8388607, -8388608};
  auto pick = [&](int bits) {
    int v = rng() % 4 ? (int)rng() : corners[rng() % 7];
    int shift = 32 - bits;  // sign-extended
    return (int)((unsigned)v << shift) >> shift;
  };
  for (int n = 0; n < 20000; n++) {
    // The sum of both must fit 25 bits.
    top.a = pick(24) & 0x1ffffff; top.d = pick(24) & 0x1ffffff; top.b = pick(18) & 0x3ffff;
    top.pcin = rng() & 0xffffffffffffULL;
    top.c = rng() & 0xffffffffffffULL;
    top.en = rng() & 1; top.first = rng() & 1;
    top.clk = 0; top.eval(); top.clk = 1; top.eval();
    if (n > 8 && (top.mine != top.theirs || top.mine_on != top.theirs_on)) return 1;
  }
  return 0;
}
"""

PAIR = """
module pair #(parameter FIRST = 1, ACCUMULATE = 0, CARRIES = 0) (
  input clk, input [24:0] a, d, input [17:0] b, input [47:0] c, pcin, input en, first,
  output [47:0] mine, theirs, mine_on, theirs_on);
  hwgen_mac #(.FIRST(FIRST), .ACCUMULATE(ACCUMULATE), .CARRIES(CARRIES),
              .START(48'h123456789abc)) behaviour (
    .clk, .a, .d, .b, .c, .pcin, .en, .first, .p(mine), .pcout(mine_on));
  made_of_primitives theirs_ (
    .clk, .a, .d, .b, .c, .pcin, .en, .first, .p(theirs), .pcout(theirs_on));
endmodule
"""


def compare(folder, first: int, accumulate: int, carries: int = 0, broken: str = "") -> bool:
    """Whether the primitive, as Yosys models it, does what the behaviour does: 20 000 clocks of
    random and extreme operands."""
    text = render_template(f"{MAC}.v.j2", {"dsp48e1": True})
    before, _, after = broken.partition(" -> ")
    (folder / "behaviour.v").write_text(render_template(f"{MAC}.v.j2", {"dsp48e1": False}))
    (folder / "primitive.v").write_text(text.replace(before, after) if broken else text)
    (folder / "pair.v").write_text(PAIR)
    yosys.run(["read_verilog -sv +/xilinx/cells_sim.v", "read_verilog -sv primitive.v",
               (f"chparam -set FIRST {first} -set ACCUMULATE {accumulate} "
               f"-set CARRIES {carries} -set START 48'h123456789abc {MAC}"),
               f"hierarchy -top {MAC}", "proc", "flatten", "opt_clean",
               "rename -top made_of_primitives",
               "write_verilog -norename primitive.v"],
              log=folder / "model.log", folder=folder)
    return bench_passes(folder, BENCH, "pair", ["pair.v", "behaviour.v", "primitive.v"],
                        f"-GFIRST={first}", f"-GACCUMULATE={accumulate}", f"-GCARRIES={carries}")


@pytest.mark.parametrize("first, accumulate, carries", [(1, 0, 0), (0, 0, 0), (1, 1, 0), (1, 0, 1)],
                         ids=["first", "next", "accumulating", "carrying"])
def test_the_slice_does_what_the_model_of_the_primitive_does(tmp_path, first, accumulate, carries):
    assert compare(tmp_path, first, accumulate, carries)


def test_a_wrong_slice_differs_from_the_behaviour(tmp_path):
    assert not compare(tmp_path, 1, 0, broken=".ADREG(1) -> .ADREG(0)")
