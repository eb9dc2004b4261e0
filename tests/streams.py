"""Driver of all block tests: frames in, frames out, and the stream contract policed."""

import warnings
from dataclasses import dataclass, field

import numpy as np
from amaranth.hdl import UnusedElaboratable
from amaranth.sim import Simulator

warnings.simplefilter("ignore", UnusedElaboratable)

QUIET_CLOCKS = 12  # watched after the last expected beat for beats that should not be there


@dataclass
class PortTrace:
    """What happened at a stream port: per beat, the ``data`` word and clocks from 0.

    ``arrived`` is the clock from which an input beat was there, ``passed`` that of its transfer.
    """

    words: list[int] = field(default_factory=list)
    arrived: list[int] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)
    stalls: int = 0


def _port_names(dut, letter: str) -> list[str]:
    """``i``, or ``i0``, ``i1``, ... of a component; likewise ``o``."""
    return sorted((name for name in dut.signature.members if name.rstrip("0123456789") == letter),
                  key=lambda name: (len(name), name))


def trace_block(config, *tensors, p_valid=1.0, p_ready=1.0, seed=0, max_clocks=200_000):
    """Send frames through ``config.create()``; return the traces of inputs and of outputs.

    Checks on every output that valid and payload hold until ready, that ``last`` marks the last
    beat of each frame and no other, that nothing follows the last frame, and that all input is
    taken.
    """
    dut = config.create()
    frames = len(tensors[0])
    sources = {name: PortTrace(kind.pack(tensor)) for name, kind, tensor in
               zip(_port_names(dut, "i"), config.inputs, tensors)}
    sinks = {name: PortTrace() for name in _port_names(dut, "o")}
    seeds = iter(np.random.SeedSequence(seed).spawn(len(sources) + len(sinks)))

    def turns(probability):
        choices = (np.random.default_rng(next(seeds)).random(4999) < probability).tolist()
        while True:
            yield from choices

    def make_source(name, kind, trace):
        port, choices = getattr(dut, name), turns(p_valid)

        async def source(ctx):
            clock = 0
            for n, word in enumerate(trace.words):
                while not next(choices):
                    await ctx.tick()
                    clock += 1
                last = int(n % kind.beats == kind.beats - 1)
                ctx.set(port.payload.as_value(), word | last << kind.data_width)
                ctx.set(port.valid, 1)
                trace.arrived.append(clock)
                ready = False
                while not ready:
                    *_, ready = await ctx.tick().sample(port.ready)
                    clock += 1
                trace.passed.append(clock - 1)
                ctx.set(port.valid, 0)
        return source

    def make_sink(name, out, trace):
        port, choices = getattr(dut, name), turns(p_ready)

        async def sink(ctx):
            held, clock, quiet = None, 0, 0
            while quiet < QUIET_CLOCKS or any(len(source.passed) < len(source.words)
                                              for source in sources.values()):
                ready = int(next(choices))
                ctx.set(port.ready, ready)
                *_, valid, payload = await ctx.tick().sample(port.valid, port.payload.as_value())
                assert held is None or (valid and payload == held), \
                    f"clock {clock}: output {name} changed while stalled"
                held = payload if valid and not ready else None
                trace.stalls += held is not None
                beat = len(trace.words)
                if beat == frames * out.beats:
                    quiet += 1
                    assert not valid, f"clock {clock}: output {name} after the last frame"
                elif valid and ready:
                    last = beat % out.beats == out.beats - 1
                    assert payload >> out.data_width == last, f"beat {beat}: last is wrong"
                    trace.words.append(payload & ((1 << out.data_width) - 1))
                    trace.passed.append(clock)
                clock += 1
                assert clock < max_clocks, f"{beat} beats at {name} after {max_clocks} clocks"
        return sink

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for (name, trace), kind in zip(sources.items(), config.inputs):
        sim.add_testbench(make_source(name, kind, trace), background=True)
    for n, (name, trace) in enumerate(sinks.items()):
        sim.add_testbench(make_sink(name, config.output_of(n), trace))
    sim.run()
    assert p_ready == 1.0 or all(trace.stalls for trace in sinks.values()), \
        "an output was never stalled"
    return list(sources.values()), list(sinks.values())


def run_block(config, *tensors, p_valid=1.0, p_ready=1.0, seed=0, max_clocks=200_000):
    """Send frames through ``config.create()``; return the output frames and the clocks.

    Clocks are, for each frame, those in which its first input beat of port 0 and its last output
    beat passed. The stream contract is checked as by :func:`trace_block`.
    """
    sources, sinks = trace_block(config, *tensors, p_valid=p_valid, p_ready=p_ready, seed=seed,
                                 max_clocks=max_clocks)
    beats = config.output.beats
    return (config.output.unpack(sinks[0].words), sources[0].passed[::config.inputs[0].beats],
            sinks[0].passed[beats - 1::beats])


def random_frames(kind, frames=1, seed=0):
    """Frames of random values of a stream's type, its extremes among them."""
    rng = np.random.default_rng(seed)
    if kind.dtype.bipolar:
        return rng.choice([-1, 1], (frames, *kind.shape))
    values = rng.integers(kind.dtype.low, kind.dtype.high + 1, (frames, *kind.shape))
    flat = values.reshape(-1)
    flat[0], flat[-1] = kind.dtype.low, kind.dtype.high
    return values


def check_schedule(config, sources, sinks):
    """Every beat passed in the clock that ``schedule`` predicts from the arrivals.

    The traces are those of a run whose outputs were never stalled.
    """
    frames = len(sources[0].words) // config.inputs[0].beats
    schedule = config.schedule(frames, *(np.array(trace.arrived) for trace in sources))
    for n, (trace, taken) in enumerate(zip(sources, schedule.taken)):
        np.testing.assert_array_equal(trace.passed, taken, err_msg=f"input {n}")
    for n, trace in enumerate(sinks):
        np.testing.assert_array_equal(trace.passed, schedule.of_output(n)[1],
                                      err_msg=f"output {n}")
    assert (schedule.reserved <= schedule.offered).all()


def check_block(config, frames=3, seed=0, stalls=((1.0, 1.0), (0.5, 0.5)), tensors=None,
                predict=True):
    """Output equals ``compute`` with and without stalls; clocks equal the documented ones.

    Where outputs are not stalled, every beat passes in the clock that ``schedule`` predicts, and
    where inputs are not starved either, the last two frames end ``cycles`` apart.
    """
    tensors = tensors or [random_frames(kind, frames, seed + n)
                          for n, kind in enumerate(config.inputs)]
    expected = config.compute(*tensors)
    for p_valid, p_ready in stalls:
        sources, sinks = trace_block(config, *tensors, p_valid=p_valid, p_ready=p_ready, seed=seed)
        for n, trace in enumerate(sinks):
            np.testing.assert_array_equal(config.output_of(n).unpack(trace.words),
                                          expected[n] if isinstance(expected, tuple) else expected)
        if predict and p_ready == 1.0:
            if p_valid == 1.0:
                # Sources always have the next beat: it is there before the block can take it.
                for trace in sources:
                    trace.arrived = [0] * len(trace.words)
                beats = config.output_of(0).beats
                ended = sinks[0].passed[beats - 1::beats]
                if len(ended) > 1:
                    assert ended[-1] - ended[-2] == config.cycles
            check_schedule(config, sources, sinks)
