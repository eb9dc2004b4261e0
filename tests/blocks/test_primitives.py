# amaranth: UnusedElaboratable=no
from math import ceil

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.sim import Simulator

from hwgen.blocks.primitives import (
    DelayLine,
    Export,
    Rom,
    StreamFifo,
    delay,
    fill_gaps,
    memory_style,
    ram_bram36,
    rom_bram36,
    rom_tiling,
)

BYTE = data.StructLayout({"byte": 8})


def simulate(dut, bench):
    m = Module()
    m.submodules.dut = dut
    m.d.sync += Signal(name="clocked").eq(0)  # a clock for parts without registers
    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


# Delay.

@pytest.mark.parametrize("clocks", [0, 1, 3])
def test_delay_gives_the_value_of_clocks_ago(clocks):
    m, value = Module(), Signal(8)
    late = delay(m, value, clocks, "late")
    seen = []

    async def bench(ctx):
        for n in range(1, 20):
            ctx.set(value, n)
            seen.append(ctx.get(late))
            await ctx.tick()

    simulate(m, bench)
    assert seen == [max(0, n - clocks) for n in range(1, 20)]


# DelayLine.

@pytest.mark.parametrize("width, length, style", [
    (4, 1, "register"), (4, 2, "register"), (4, 3, "srl"), (4, 33, "srl"),
    (30, 3, "pointers"), (24, 9, "pointers"), (24, 32, "pointers"), (24, 33, "srl"),
    (4, 34, "distributed"), (5, 66, "distributed"), (64, 130, "block"), (12, 300, "block")])
@pytest.mark.parametrize("p_step", [1.0, 0.6])
def test_delay_line_gives_the_word_of_length_steps_ago(width, length, style, p_step):
    dut = DelayLine(width, length)
    assert dut.style == style
    rng = np.random.default_rng(length)
    history, wrong = [0] * length, []

    async def bench(ctx):
        for _ in range(3 * length + 20):
            word, step = int(rng.integers(1 << min(width, 62))), int(rng.random() < p_step)
            ctx.set(dut.i, word)
            ctx.set(dut.en, step)
            if ctx.get(dut.o) != history[-length]:
                wrong.append(len(history))
            await ctx.tick()
            if step:
                history.append(word)

    simulate(dut, bench)
    assert not wrong


@pytest.mark.parametrize("length", [1, 2, 5, 40])
def test_a_loop_around_a_delay_line_is_a_ring_of_length_words(length):
    m = Module()
    m.submodules.line = line = DelayLine(16, length)
    m.d.comb += [line.en.eq(1), line.i.eq(line.o + 1)]
    seen = []

    async def bench(ctx):
        for _ in range(4 * length):
            seen.append(ctx.get(line.o))
            await ctx.tick()

    simulate(m, bench)
    assert seen == [n // length for n in range(4 * length)]


# StreamFifo.

@pytest.mark.parametrize("depth", [1, 2, 3, 4, 9, 40])
def test_fifo_handshakes_are_registered(depth):
    dut = StreamFifo(BYTE, depth)

    async def bench(ctx):
        for n in range(4 * depth):
            ctx.set(dut.o.ready, 0)
            before = ctx.get(dut.i.ready)
            ctx.set(dut.o.ready, 1)
            assert ctx.get(dut.i.ready) == before
            ctx.set(dut.o.ready, n > 2 * depth)
            ctx.set(dut.i.valid, 0)
            offered = ctx.get(dut.o.valid)
            ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.o.valid) == offered
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 9, 40])
def test_fifo_latency_is_as_documented(depth):
    dut = StreamFifo(BYTE, depth)
    clocks = 0

    async def bench(ctx):
        nonlocal clocks
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload.byte, 77)
        while not ctx.get(dut.o.valid):
            assert ctx.get(dut.i.ready)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            clocks += 1
        assert ctx.get(dut.o.payload.byte) == 77

    simulate(dut, bench)
    assert clocks == StreamFifo.latency_of(depth)


def test_fifo_depth_below_one_is_refused():
    with pytest.raises(ValueError, match=r"^depth \(0\) must be at least 1$"):
        StreamFifo(BYTE, 0)


@pytest.mark.parametrize("depth", [3, 9, 33])
@pytest.mark.parametrize("p_ready", [1.0, 0.3])
def test_fifo_with_reserved_places_has_one_for_every_beat_under_way(depth, p_ready):
    dut, late = StreamFifo(BYTE, depth, reserved=True), 5
    rng = np.random.default_rng(depth)
    way, seen, most = [None] * late, [], 0

    async def bench(ctx):
        nonlocal most
        given = 0
        for _ in range(400):
            free = ctx.get(dut.free)
            assert free == before[0]
            taken = int(free and rng.random() < 0.9)
            way.append(given % 256 if taken else None)
            given += taken
            beat = way.pop(0)
            ready = int(rng.random() < p_ready)
            ctx.set(dut.reserve, taken)
            ctx.set(dut.i.valid, int(beat is not None))
            ctx.set(dut.i.payload.byte, beat or 0)
            ctx.set(dut.o.ready, ready)
            if ready and ctx.get(dut.o.valid):
                seen.append(ctx.get(dut.o.payload.byte))
            before[0] = ctx.get(dut.will_be_free)
            most = max(most, given - len(seen))
            await ctx.tick()

    before = [1]
    simulate(dut, bench)
    assert seen == [n % 256 for n in range(len(seen))]
    assert len(seen) > 50
    assert most <= depth
    assert p_ready == 1.0 or most == depth  # all places, and the output register


def test_a_fifo_with_reserved_places_needs_a_memory():
    with pytest.raises(ValueError, match=r"^depth \(2\) must be at least 3$"):
        StreamFifo(BYTE, 2, reserved=True)


# Rom.

def read_all(dut, addresses):
    """Words read with a new address each clock."""
    seen = []

    async def bench(ctx):
        for address in [*addresses, *[0] * dut.latency]:
            ctx.set(dut.addr, address)
            seen.append(ctx.get(dut.data))
            await ctx.tick()

    simulate(dut, bench)
    return seen[dut.latency:]


@pytest.mark.parametrize("style", ["logic", "block"])
@pytest.mark.parametrize("depth, fields, width", [(1, 3, 4), (2, 1, 1), (5, 3, 3), (64, 4, 9),
                                                  (100, 90, 1)])
def test_rom_data_follow_the_address_after_latency_clocks(depth, fields, width, style):
    codes = np.random.default_rng(depth).integers(0, 1 << width, (depth, fields))
    dut = Rom(codes, width, style, "weights")
    assert dut.latency == (0 if depth == 1 else {"logic": 1, "block": 2}[style])
    expected = [sum(int(c) << n * width for n, c in enumerate(row)) for row in codes]
    addresses = [*range(depth), *np.random.default_rng(0).integers(0, depth, 30).tolist()]
    assert read_all(dut, addresses) == [expected[a] for a in addresses]


@pytest.mark.parametrize("depth, latency", [(256, 1), (257, 2), (640, 2), (1024, 2), (1025, 3)])
def test_many_words_in_luts_are_read_in_several_clocks_unless_it_must_be_one(depth, latency):
    codes = np.random.default_rng(depth).integers(0, 8, (depth, 1))
    addresses = [0, depth - 1, *np.random.default_rng(0).integers(0, depth, 60).tolist()]
    expected = codes[addresses, 0].tolist()
    dut, at_once = (Rom(codes, 3, "logic", "words", at_once=at_once) for at_once in (False, True))
    assert (dut.latency, at_once.latency) == (latency, 1)
    assert read_all(dut, addresses) == expected
    assert read_all(at_once, addresses) == expected


@pytest.mark.parametrize("depth", [2, 7, 100])
def test_gaps_between_words_are_filled_with_other_words(depth):
    rng = np.random.default_rng(depth)
    words, used = rng.integers(1, 1000, (depth, 3)), rng.random(depth) < 0.5
    used[0] = True
    filled = fill_gaps(np.where(used[:, None], words, 0), used)
    np.testing.assert_array_equal(filled[used], words[used])
    assert {tuple(word) for word in filled[~used].tolist()} <= set(map(tuple, words[used].tolist()))
    np.testing.assert_array_equal(filled, fill_gaps(np.where(used[:, None], words, 0), used))


@pytest.mark.parametrize("depth, rows, latency", [(33000, 2, 3), (131073, 5, 4)])
def test_rom_of_several_rows_of_block_ram_chooses_the_row(depth, rows, latency):
    codes = np.random.default_rng(1).integers(0, 2, (depth, 1))
    dut = Rom(codes, 1, "block", "weights")
    assert rom_tiling(1, depth)[1] == rows
    assert dut.latency == latency
    addresses = np.random.default_rng(2).integers(0, depth, 300).tolist() + [0, depth - 1]
    assert read_all(dut, addresses) == codes[addresses, 0].tolist()


def test_the_last_row_of_block_ram_is_one_tile_where_that_takes_less():
    codes = np.random.default_rng(3).integers(0, 16, (35000, 1))  # a row of 4 columns, and 2 232
    dut = Rom(codes, 4, "block", "weights")
    assert rom_tiling(4, 35000) == (4, 2, 1, 32768)
    assert rom_bram36(4, 35000) == 4.5
    platform = Export("fc")
    rtlil.convert(dut, platform=platform)
    assert sorted(platform.memories) == [*(f"fc_weights_0_{n}.mem" for n in range(4)),
                                         "fc_weights_1_0.mem"]
    addresses = np.random.default_rng(2).integers(0, 35000, 200).tolist() + [32767, 32768, 34999]
    assert read_all(dut, addresses) == codes[addresses, 0].tolist()


def test_exported_rom_leaves_its_contents_in_files():
    codes = np.random.default_rng(4).integers(0, 16, (300, 30))  # 120 bits: 2 columns of tiles
    dut = Rom(codes, 4, "block", "weights")
    columns, rows, width, depth = rom_tiling(120, 300)
    platform = Export("conv1")
    rtlil.convert(dut, platform=platform)
    assert sorted(platform.memories) == [f"conv1_weights_0_{n}.mem" for n in range(columns)]
    assert rows == 1
    assert columns > 1
    for address, word in enumerate(dut.words()):
        parts = [int(platform.memories[f"conv1_weights_0_{n}.mem"][address], 16)
                 for n in range(columns)]
        assert sum(part << n * width for n, part in enumerate(parts)) == word


# Choice of memories.

def test_deep_memories_are_block_ram():
    assert memory_style(8, 32) == "distributed"
    assert memory_style(100, 64) == "distributed"
    assert memory_style(48, 65) == "block"
    assert memory_style(3, 512) == "distributed"
    assert memory_style(3, 2048) == "block"


@pytest.mark.parametrize("width, depth, blocks", [
    (36, 512, 0.5), (37, 512, 1.0), (36, 513, 1.0), (1, 16384, 0.5), (18, 1024, 0.5),
    (9, 4096, 1.0)])
def test_block_rams_of_a_dual_port_memory(width, depth, blocks):
    assert ram_bram36(width, depth) == blocks


@pytest.mark.parametrize("width, depth, blocks", [
    (36, 1024, 1.0), (36, 1025, 1.5), (40, 1024, 1.5), (4, 8193, 1.5), (72, 512, 1.0),
    (73, 512, 1.5), (28, 47096, 40.5)])
def test_block_rams_of_constants_are_halves_at_the_edges(width, depth, blocks):
    assert rom_bram36(width, depth) == blocks


@pytest.mark.parametrize("width", [1, 7, 36, 100])
@pytest.mark.parametrize("depth", [10, 1000, 5000])
def test_tiles_cover_the_memory(width, depth):
    columns, rows, tile_width, tile_depth = rom_tiling(width, depth)
    assert columns == ceil(width / tile_width)
    assert rows == ceil(depth / tile_depth)
