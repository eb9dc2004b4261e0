"""The modules of rtl_templates/hwgen_arith.v.j2: primitives in synthesis, behaviour elsewhere."""

import random
from pathlib import Path

import pytest
from amaranth import Const, Module, Signal
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.arith.compressor import Compressor
from hwgen.arith.dot_product import DotProduct
from hwgen.blocks.export import ARITHMETIC, Export, lut, unlike
from hwgen.errors import ToolError
from hwgen.files import render_template
from hwgen.synth import synthesize_module
from hwgen.tools import yosys
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type

RNG = random.Random(1)


def arithmetic(folder: Path, *, carry: int) -> Path:
    """With the carry primitives of 7 series (4 bits) or UltraScale+ chips (8)."""
    file = folder / "xilinx.v"
    file.write_text(render_template(f"{ARITHMETIC}.v.j2", {"carry": carry}))
    return file


def prove_equal(folder: Path, module: str, parameters: dict[str, str], *, carry: int = 4,
                broken: str = "") -> None:
    """Yosys proves a module of primitives equal to its behaviour, for every input."""
    file = arithmetic(folder, carry=carry)
    settings = " ".join(f"-set {name} {value}" for name, value in parameters.items())
    text = file.read_text()
    if broken:
        before, after = broken.split(" -> ")
        assert before in text
        file.write_text(text.replace(before, after))
    commands = []
    for side, option in (("gold", "-nosynthesis"), ("gate", "")):
        commands += [f"read_verilog -sv {option} {yosys.quoted(file)}"]
        if side == "gate":
            commands += ["read_verilog -sv +/xilinx/cells_sim.v"]
        commands += [f"chparam {settings} {module}", f"hierarchy -top {module}", "proc", "flatten",
                     "opt_clean", f"rename -top {side}", f"design -stash {side}"]
    commands += ["design -copy-from gold gold", "design -copy-from gate gate",
                 "miter -equiv -flatten -make_outputs gold gate miter",
                 "hierarchy -top miter", "opt", "sat -verify -prove trigger 0 miter"]
    yosys.run(commands, log=folder / f"{module}.log", folder=folder)


@pytest.mark.parametrize("carry", [4, 8])
@pytest.mark.parametrize("width, total", [(1, 1), (1, 2), (1, 3), (2, 4), (3, 5), (4, 5), (4, 6),
                                          (7, 9), (8, 8), (12, 14)])
def test_the_ternary_adder_of_primitives_is_proven_equal_to_plus(tmp_path, width, total, carry):
    masks = {f"NOT_{row}": f"{width}'d{RNG.randrange(1 << width)}" for row in "ABC"}
    for inverted in ({}, masks):
        prove_equal(tmp_path, "hwgen_add3", {"WIDTH": str(width), "SUM": str(total), **inverted},
                    carry=carry)


@pytest.mark.parametrize("carry", [4, 8])
@pytest.mark.parametrize("width, total", [(1, 1), (1, 2), (3, 4), (4, 5), (5, 6), (8, 8), (16, 17)])
def test_the_adder_of_primitives_is_proven_equal_to_plus(tmp_path, width, total, carry):
    masks = {f"NOT_{row}": f"{width}'d{RNG.randrange(1 << width)}" for row in "AB"}
    prove_equal(tmp_path, "hwgen_add2", {"WIDTH": str(width), "SUM": str(total), **masks},
                carry=carry)


@pytest.mark.parametrize("carry", [4, 8])
@pytest.mark.parametrize("width", [1, 4, 5, 16])
def test_the_adder_with_a_choice_of_primitives_is_proven_equal_to_its_expression(tmp_path, width,
                                                                                carry):
    prove_equal(tmp_path, "hwgen_add_chosen", {"WIDTH": str(width)}, carry=carry)


@pytest.mark.parametrize("carry", [4, 8])
@pytest.mark.parametrize("width", [1, 2, 7, 8, 13, 18])
def test_the_comparator_of_primitives_is_proven_equal_to_its_expression(tmp_path, width, carry):
    prove_equal(tmp_path, "hwgen_at_least", {"WIDTH": str(width)}, carry=carry)


@pytest.mark.parametrize("seed", range(3))
def test_the_luts_of_primitives_are_proven_equal_to_their_tables(tmp_path, seed):
    rng = random.Random(seed)
    prove_equal(tmp_path, "hwgen_lut6_2", {"WIDTH": "2", "O6": f"32'd{rng.randrange(1 << 32)}",
                                           "O5": f"32'd{rng.randrange(1 << 32)}"})
    prove_equal(tmp_path, "hwgen_lut6", {"WIDTH": "2", "TABLE": f"64'd{rng.randrange(1 << 64)}"})


def test_a_wrong_primitive_fails_the_proof(tmp_path):
    with pytest.raises(ToolError):
        prove_equal(tmp_path, "hwgen_add3", {"WIDTH": "3", "SUM": "5"},
                    broken="assign di[n] = majority[n] -> assign di[n] = majority[n+1]")


def exported(folder: Path, component, name: str) -> Path:
    """One Verilog file of a component and the modules that it instantiates."""
    platform = Export(name)
    text = rtlil.convert(component, name=name, platform=platform, emit_src=False)
    (folder / f"{name}.il").write_text(text)
    yosys.run([f"read_rtlil {yosys.quoted(folder / f'{name}.il')}", "proc", "opt_clean",
               f"write_verilog -norename {yosys.quoted(folder / f'{name}.v')}"],
              log=folder / "write.log", folder=folder)
    file = folder / f"{name}.v"
    file.write_text("".join([file.read_text(), *platform.modules.values(),
                             arithmetic(folder, carry=4).read_text()]))
    return file


@pytest.mark.parametrize("lanes, a_width, weight_type", [
    (64, 1, BIPOLAR), (20, 4, uint_type(1)), (16, 4, TERNARY), (7, 3, int_type(3))],
    ids=["xnor", "and", "ternary", "planes"])
def test_synthesis_takes_the_luts_that_a_compression_counts(tmp_path, lanes, a_width,
                                                            weight_type):
    compression = DotProduct.compression_of(lanes, a_width, weight_type, 32)
    tree = Compressor(compression, lanes * a_width, lanes * weight_type.width, 2)
    file = exported(tmp_path, tree, "tree")
    found = synthesize_module(file, "tree", "xc7", log=tmp_path / "synth.log")
    # Bits that only wait for others become shift registers.
    assert abs(found.lut - found.lutram - 2 * compression.resources.lut) <= 4
    assert found.ff <= 2 * compression.resources.ff


class Chosen(wiring.Component):
    """A function of some inputs and a constant, in a LUT of its own."""

    def __init__(self, *constants):
        self.constants = constants
        super().__init__({"x": In(4), "y": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.y.eq(lut(
            m, platform, "chosen", lambda a, b, c, d, e, f: (a & ~b) ^ (c | ~d) ^ (e & ~f & a),
            *self.x, *self.constants))
        return m


@pytest.mark.parametrize("constants", [(Const(0, 1), Const(1, 1)), (Const(1, 1), Const(0, 1))])
def test_a_function_in_a_lut_of_its_own_is_what_simulation_computes(tmp_path, constants):
    prove_exported(tmp_path, lambda: Chosen(*constants))


def prove_exported(tmp_path, make):
    """Yosys proves what a component becomes in Verilog equal to what simulation computes."""
    made = exported(tmp_path, make(), "made")
    assert "hwgen_lut6" in made.read_text()
    (tmp_path / "plain.il").write_text(rtlil.convert(make(), name="plain", emit_src=False))
    commands = []
    for side, read in (("plain", f"read_rtlil {yosys.quoted(tmp_path / 'plain.il')}"),
                       ("made", f"read_verilog -sv {yosys.quoted(made)} +/xilinx/cells_sim.v")):
        commands += [read, f"hierarchy -top {side}", "proc", "flatten", f"design -stash {side}"]
    commands += ["design -copy-from plain plain", "design -copy-from made made",
                 "miter -equiv -flatten -make_outputs plain made miter",
                 "hierarchy -top miter", "opt", "sat -verify -prove trigger 0 miter"]
    yosys.run(commands, log=tmp_path / "proof.log", folder=tmp_path)


class Unlike(wiring.Component):
    """Whether two numbers differ, or one and a constant, beside what that should be."""

    def __init__(self, width, constant=None):
        self.constant = constant
        super().__init__({"a": In(width), "b": In(width), "y": Out(1), "expected": Out(1)})

    def elaborate(self, platform):
        m = Module()
        other = self.b if self.constant is None else self.constant
        m.d.comb += [self.y.eq(unlike(m, platform, "differs", self.a, other)),
                     self.expected.eq(self.a != other)]
        return m


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 12, 18])
def test_numbers_differ_in_two_levels_of_luts(tmp_path, width):
    prove_exported(tmp_path, lambda: Unlike(width))
    prove_outputs_equal(tmp_path, Unlike(width))


@pytest.mark.parametrize("width, constant", [(2, 1), (6, 0), (7, 64), (12, 0x5a3), (14, 0x3fff)])
def test_a_number_differs_from_a_constant_in_two_levels_of_luts(tmp_path, width, constant):
    prove_exported(tmp_path, lambda: Unlike(width, constant))
    prove_outputs_equal(tmp_path, Unlike(width, constant))


def prove_outputs_equal(tmp_path, component):
    (tmp_path / "both.il").write_text(rtlil.convert(component, name="both", emit_src=False))
    yosys.run([f"read_rtlil {yosys.quoted(tmp_path / 'both.il')}", "hierarchy -top both", "proc",
               "flatten", "sat -verify -prove y expected both"],
              log=tmp_path / "both.log", folder=tmp_path)


def test_a_lut_has_no_more_than_six_inputs():
    with pytest.raises(ValueError, match=r"^wide: a LUT has up to 6 inputs, not 7$"):
        lut(Module(), Export("block"), "wide", lambda *bits: bits[0], *Signal(7))
