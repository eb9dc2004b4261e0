"""Driver of all block tests: frames in, frames out, and the stream contract policed."""

import warnings

import numpy as np
from amaranth.hdl import UnusedElaboratable
from amaranth.sim import Simulator

warnings.simplefilter("ignore", UnusedElaboratable)


def run_block(config, *tensors, p_valid=1.0, p_ready=1.0, seed=0, max_clocks=200_000):
    """Send frames through ``config.create()``; return the output frames and the clocks.

    Clocks are, for each frame, those in which its first input beat of port 0 and its last output
    beat passed. Checks on ``o`` that valid and payload hold until ready and that ``last`` marks
    the last beat of each frame and no other.
    """
    dut = config.create()
    rng = np.random.default_rng(seed)
    frames = len(tensors[0])
    names = ["i"] if len(config.inputs) == 1 else [f"i{n}" for n in range(len(config.inputs))]
    clock, started, ended, words, stalls = 0, [], [], [], 0

    def make_source(name, kind, tensor):
        port, sent = getattr(dut, name), kind.pack(tensor)
        choices = rng.random(20 * len(sent) + 1000) < p_valid

        async def source(ctx):
            turn = 0
            for n, word in enumerate(sent):
                while not choices[turn % len(choices)]:
                    turn += 1
                    await ctx.tick()
                turn += 1
                last = int(n % kind.beats == kind.beats - 1)
                ctx.set(port.payload.as_value(), word | last << kind.data_width)
                ctx.set(port.valid, 1)
                await ctx.tick().until(port.ready)
                if name in ("i", "i0") and n % kind.beats == 0:
                    started.append(clock)
                ctx.set(port.valid, 0)
        return source

    out = config.output

    async def sink(ctx):
        nonlocal clock, stalls
        held = None
        while len(words) < frames * out.beats:
            ctx.set(dut.o.ready, int(rng.random() < p_ready))
            *_, valid, ready, payload = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload.as_value())
            assert held is None or (valid and payload == held), \
                f"clock {clock}: output changed while stalled"
            held = payload if valid and not ready else None
            stalls += held is not None
            if valid and ready:
                last = len(words) % out.beats == out.beats - 1
                assert payload >> out.data_width == last, f"beat {len(words)}: last is wrong"
                words.append(payload & ((1 << out.data_width) - 1))
                if last:
                    ended.append(clock)
            clock += 1
            assert clock < max_clocks, f"{len(words)} beats after {max_clocks} clocks"

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for name, kind, tensor in zip(names, config.inputs, tensors):
        sim.add_testbench(make_source(name, kind, tensor), background=True)
    sim.add_testbench(sink)
    sim.run()
    assert p_ready == 1.0 or stalls, "the output was never stalled"
    return out.unpack(words), started, ended


def random_frames(kind, frames=1, seed=0):
    """Frames of random values of a stream's type, its extremes among them."""
    rng = np.random.default_rng(seed)
    if kind.dtype.bipolar:
        return rng.choice([-1, 1], (frames, *kind.shape))
    values = rng.integers(kind.dtype.low, kind.dtype.high + 1, (frames, *kind.shape))
    flat = values.reshape(-1)
    flat[0], flat[-1] = kind.dtype.low, kind.dtype.high
    return values


def check_block(config, frames=3, seed=0, stalls=((1.0, 1.0), (0.5, 0.5)), tensors=None,
                predict=True):
    """Output equals ``compute`` with and without stalls; clocks equal the documented ones."""
    tensors = tensors or [random_frames(kind, frames, seed + n)
                          for n, kind in enumerate(config.inputs)]
    expected = config.compute(*tensors)
    for p_valid, p_ready in stalls:
        found, started, ended = run_block(config, *tensors, p_valid=p_valid, p_ready=p_ready,
                                          seed=seed)
        np.testing.assert_array_equal(found, expected)
        if p_valid == p_ready == 1.0 and predict:
            ready = [np.repeat(np.arange(1), len(tensors[0]) * kind.beats)
                     for kind in config.inputs]
            schedule = config.schedule(len(tensors[0]), *ready)
            beats = config.output.beats
            predicted = schedule.offered[beats - 1::beats] - schedule.taken[0][0]
            assert (np.array(ended) - started[0]).tolist() == predicted.tolist()
            if len(ended) > 1:
                assert ended[-1] - ended[-2] == config.cycles
