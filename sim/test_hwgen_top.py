"""cocotb test bench of a built design: every output beat, bit by bit, against expected ones.

The JSON file that HWGEN_BENCH names says what to stream:

``input``, ``expected``
    Files of beats, each beat as its little-endian bytes.
``in_bytes``, ``in_beats``, ``out_bytes``, ``out_beats``
    Bytes of a beat and beats of a frame.
``stall``, ``seed``, ``longest_stall``, ``watchdog``
    Stalls of the second test, and clocks without a beat that count as a deadlock.
``results``, ``progress``
    Files to write: what each test found; and (beats moved, beats in all), now and then.
"""

import json
import os
import random
from pathlib import Path

import cocotb
from axi_stream import PERIOD, ContractError, Stalls, StreamSink, StreamSource
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

BENCH = json.loads(Path(os.environ["HWGEN_BENCH"]).read_text())
RESET_CLOCKS, SETTLE_CLOCKS = 8, 64
TESTS = 2 if BENCH["stall"] else 1


def read_words(file: str, size: int) -> list[int]:
    data = Path(file).read_bytes()
    return [int.from_bytes(data[n:n + size], "little") for n in range(0, len(data), size)]


async def watch(source: StreamSource, sink: StreamSink, beats: int, done_before: int) -> None:
    """Report progress; raise ContractError when no beat moves for ``watchdog`` clocks."""
    step = max(1, BENCH["watchdog"] // 16)
    quiet, moved = 0, -1
    while True:
        await Timer(step * PERIOD, "step")
        quiet = quiet + step if source.beats + sink.beats == moved else 0
        moved = source.beats + sink.beats
        Path(BENCH["progress"]).write_text(f"{done_before + moved} {TESTS * beats}")
        if quiet >= BENCH["watchdog"]:
            raise ContractError(f"no beat moved for {quiet} clocks, after {source.beats} input "
                                f"beats and {sink.beats} of {len(sink.expected)} output beats")


async def stream_frames(dut, name: str, probability: float) -> None:
    """Reset, stream all frames through, and write down what happened."""
    words = read_words(BENCH["input"], BENCH["in_bytes"])
    expected = read_words(BENCH["expected"], BENCH["out_bytes"])
    beats = len(words) + len(expected)
    seed, longest = BENCH["seed"], BENCH["longest_stall"] if probability else 0
    source_stalls = Stalls(probability, longest, BENCH["in_beats"], random.Random(2 * seed))
    sink_stalls = Stalls(probability, longest, BENCH["out_beats"], random.Random(2 * seed + 1))

    dut.rst.value = 1
    dut.s_axis_tvalid.value = dut.s_axis_tlast.value = dut.s_axis_tdata.value = 0
    dut.m_axis_tready.value = 0
    clock = Clock(dut.clk, PERIOD, "step", impl="gpi")
    clock.start()
    await Timer(RESET_CLOCKS * PERIOD - PERIOD // 2, "step")
    dut.rst.value = 0
    if probability:
        await RisingEdge(dut.clk)
    # Else the first beat is there in the first clock, as in the predicted schedule: in idle ones
    # before it, windows would already pass through the padding above the first row.

    source, sink = StreamSource(dut, "s_axis"), StreamSink(dut, "m_axis", expected)
    start = source.clock()
    errors: list[str] = []

    async def noted(check) -> None:
        try:
            await check
        except ContractError as error:
            errors.append(str(error))
            raise

    async def receive() -> None:
        sending = cocotb.start_soon(source.send(words, BENCH["in_beats"], source_stalls))
        await sink.receive(BENCH["out_beats"], sink_stalls)
        if sink.mismatch is None:
            await sending
            await sink.check_silence(SETTLE_CLOCKS)

    try:
        cocotb.start_soon(noted(watch(source, sink, beats, beats * bool(probability))))
        if probability:
            cocotb.start_soon(noted(sink.check_valid_holds()))
            cocotb.start_soon(noted(sink.check_data_holds()))
        await noted(receive())
    finally:
        results = Path(BENCH["results"])
        everything = json.loads(results.read_text()) if results.exists() else {}
        everything[name] = {
            "error": errors[0] if errors else None, "mismatch": sink.mismatch, "start": start,
            "first_inputs": source.first_clocks, "last_inputs": source.last_clocks,
            "last_outputs": sink.last_clocks,
            "stalled_clocks": [source_stalls.total, sink_stalls.total]}
        results.write_text(json.dumps(everything))
    assert sink.mismatch is None, f"beat {sink.mismatch[0]} differs"


@cocotb.test()
async def full_speed(dut):
    """The input always has a beat, the output is always ready."""
    await stream_frames(dut, "full_speed", 0.0)


@cocotb.test(skip=not BENCH["stall"])
async def random_stalls(dut):
    """Both ends stall at random."""
    await stream_frames(dut, "random_stalls", BENCH["stall"])
