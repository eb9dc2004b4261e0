"""Memories of constants in LUTs."""

import numpy as np
import pytest
from amaranth.back import rtlil

from hwgen.blocks.primitives import Rom, rom_luts
from hwgen.synth import synthesize_module
from hwgen.tools import yosys


@pytest.mark.parametrize("depth", [64, 116, 128, 174, 232, 256])
def test_a_bit_of_a_memory_in_luts_takes_what_is_estimated(depth, tmp_path):
    """Words that are not a power of two, too: the places between would cost a third more."""
    codes = np.random.default_rng(depth).integers(0, 2, (depth, 16))
    source, file = tmp_path / "rom.il", tmp_path / "rom.v"
    source.write_text(rtlil.convert(Rom(codes, 1, "logic", "rom"), name="rom", emit_src=False))
    yosys.run([f"read_rtlil {yosys.quoted(source)}", "proc", "opt_clean",
               f"write_verilog -norename {yosys.quoted(file)}"], log=tmp_path / "log",
              folder=tmp_path)
    used = synthesize_module(file, "rom", "xc7", log=tmp_path / "synth.log")
    assert used.lut == pytest.approx(16 * rom_luts(depth), abs=2)
    assert used.ff == 16
