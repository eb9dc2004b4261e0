"""Streaming max and sum pooling, one axis after the other."""

from dataclasses import dataclass
from math import ceil

import numpy as np
from amaranth import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..ops import MaxPool, SumPool, window_positions
from ..resources import Resources
from ..streams import TensorStream
from ..types import NumType
from .block import Block, Schedule, as_soon_as_possible
from .counters import counter, turns
from .export import lut
from .parts import NEVER, holds, lookup, number
from .primitives import DelayLine

__all__ = ["Pool", "PoolAxis", "PoolAxisConfig", "PoolConfig"]


@dataclass(frozen=True)
class PoolAxisConfig:
    """Pooling along one axis, each value read once.

    The axis is walked position by position, ``inner`` beats each. A value joins every window that
    covers it: ``slots`` partial results per beat circulate in a ring, slot d that of the d-th
    oldest window under way. Windows that end in the padding behind the axis are completed by
    flush positions, which take no input.

    Parameters
    ----------
    input
        Stream of the tensor.
    out_type
        Type of the results.
    axis
        0 for rows (vertical), 1 for columns (horizontal).
    kernel, stride
        Size and distance of the windows.
    before, after
        Padding at both ends, less than the kernel.
    mode
        ``max`` or ``sum``.
    pad_value
        What padding adds to a sum.
    """

    input: TensorStream
    out_type: NumType
    axis: int
    kernel: int
    stride: int
    before: int
    after: int
    mode: str
    pad_value: int = 0

    @property
    def length(self) -> int:
        """Positions of the input."""
        return self.input.shape[self.axis]

    @property
    def outputs(self) -> int:
        """Positions of the output."""
        return window_positions(self.length, self.kernel, self.stride, self.before, self.after)

    @property
    def output(self) -> TensorStream:
        height, width, channels = self.input.shape
        shape = (height, self.outputs, channels) if self.axis else (self.outputs, width, channels)
        return TensorStream(self.out_type, shape, self.input.lanes)

    @property
    def runs(self) -> int:
        """Times that a frame walks the axis."""
        return self.input.shape[0] if self.axis else 1

    @property
    def inner(self) -> int:
        """Beats of a position."""
        return self.input.beats_per_pixel * (1 if self.axis else self.input.shape[1])

    @property
    def positions(self) -> int:
        """Positions walked: those of the input, and those that flush."""
        end = (self.outputs - 1) * self.stride - self.before + self.kernel
        return max(self.length, end)

    @property
    def flush(self) -> int:
        """Clocks of a run that take no input."""
        return (self.positions - self.length) * self.inner

    @property
    def steps(self) -> int:
        """Clocks of a frame."""
        return self.runs * self.positions * self.inner

    @property
    def slots(self) -> int:
        """Windows under way between two positions."""
        return ceil((self.kernel - 1) / self.stride)

    def completes(self) -> np.ndarray:
        """For each position, whether a window ends there."""
        ahead = np.arange(self.positions) + self.before - self.kernel + 1
        return (ahead >= 0) & (ahead % self.stride == 0)

    def starts(self) -> np.ndarray:
        """(positions, slots): whether the window of a slot starts at the position."""
        y = np.arange(self.positions)[:, None]
        done = np.cumsum(self.completes()) - self.completes()  # windows ended before
        start = (done[:, None] + np.arange(self.slots)) * self.stride - self.before
        return np.maximum(start, 0) == y

    def emits(self) -> np.ndarray:
        """(steps,): whether an output beat leaves in each clock of a frame."""
        beats = np.repeat(self.completes(), self.inner)
        return np.tile(beats, self.runs)

    def wait(self, ready: np.ndarray) -> np.ndarray:
        """(frames, steps): what each clock waits for, when the input's beats come at ``ready``."""
        wait = np.full((len(ready) // self.input.beats, self.runs, self.positions, self.inner),
                       NEVER, dtype=np.int64)
        wait[:, :, :self.length] = ready.reshape(-1, self.runs, self.length, self.inner)
        return wait.reshape(-1, self.steps)

    def taken(self, steps: np.ndarray) -> np.ndarray:
        """Of clocks (frames, steps), those that take input."""
        walk = steps.reshape(-1, self.runs, self.positions, self.inner)
        return walk[:, :, :self.length].reshape(-1)

    def create(self) -> "PoolAxis":
        return PoolAxis(self)

    def estimate(self) -> Resources:
        """Windows at work, ring and control."""
        lanes, width, slots = self.input.lanes, self.out_type.width, self.slots
        # Fitted to synthesis. A maximum of two bits, and the choice to start anew, share LUTs.
        lane: float
        if self.mode == "sum":
            lane = width * (2 * slots + 1)
        elif width <= 2:
            lane = (1.45, 3.2)[width - 1] * slots + 0.85
        elif slots == 1:
            lane = width * (2.6 if self.inner == 1 else 3)
        else:
            # Comparisons of five bits take a LUT level more than those of four.
            lane = width * (1.5 * slots + 2.4) - 3.5 + 2 * slots * (width == 5)
        position, others = (self.positions - 1).bit_length(), \
            (self.inner - 1).bit_length() + (self.runs - 1).bit_length()
        lut = 2.1 * position + 4 * slots + 1.6 * (self.before > 0 or self.flush > 0)
        used = Resources(lut=lut + lanes * lane * (slots > 0),
                         ff=0.7 * lanes * width + 1.15 * position + 0.85 * others + 2.6)
        return used + (DelayLine.resources(self.slots * lanes * width, self.inner)
                       if self.slots else Resources())


class PoolAxis(wiring.Component):
    """Hardware of :class:`PoolAxisConfig`; a rigid stage with a registered output.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: PoolAxisConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        lanes, width = cfg.input.lanes, cfg.out_type.width

        # Walk the axis; the bits that say what to do at a position are ready when it begins.
        step = Signal()
        advance = Signal()
        beat_end, _ = turns(m, cfg.inner, step, "beat")
        position, position_end = counter(m, cfg.positions, step & beat_end, "position")
        run_end, _ = turns(m, cfg.runs, step & beat_end & position_end, "run")
        completes = cfg.completes()
        final = np.arange(cfg.positions) == np.flatnonzero(completes)[-1]
        table = np.column_stack([np.arange(cfg.positions) >= cfg.length, completes, final,
                                 cfg.starts()])
        bits = []
        for n, name in enumerate(["flush", "complete", "final"]
                                 + [f"start_{d}" for d in range(cfg.slots)]):
            column = table[:, n]
            if column.all() or not column.any():
                bits.append(Const(int(column[0]), 1))
                continue
            bit = Signal(name=name, init=int(column[0]))
            with m.If(step & beat_end):
                m.d.sync += bit.eq(lookup(np.roll(column, -1), position))
            bits.append(bit)
        flush, complete, final, *starts = bits
        # What depends on ``o.ready``, which is late, does so in one LUT.
        end = self.o.valid, self.o.ready
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(lut(m, platform, "takes", lambda held, leaves, flush:
                                (~held | leaves) & ~flush, *end, flush)),
            step.eq(lut(m, platform, "steps", lambda held, leaves, flush, arrives:
                        (~held | leaves) & (flush | arrives), *end, flush, self.i.valid))]

        # The new value joins the windows under way; one starts beside them.
        old = Signal(cfg.slots * lanes * width)
        new = Signal(cfg.slots * lanes * width)
        if cfg.slots:
            m.submodules.ring = ring = DelayLine(len(old), cfg.inner)
            m.d.comb += [ring.en.eq(step), ring.i.eq(new), old.eq(ring.o)]
        for lane in range(lanes):
            value = Signal(width, name=f"value_{lane}")
            code = self.i.payload.data[lane]
            m.d.comb += value.eq(code if cfg.input.dtype == cfg.out_type
                                 else number(code, cfg.input.dtype))
            with m.If(flush):
                m.d.comb += value.eq(int(cfg.out_type.encode(cfg.out_type.low))
                                     if cfg.mode == "max" else cfg.pad_value & (1 << width) - 1)
            windows = []
            for slot, start in enumerate(starts):
                window = Signal(width, name=f"window_{slot}_{lane}")
                before = old.word_select(slot * lanes + lane, width)
                first = value
                missing = (cfg.before - slot * cfg.stride) * cfg.pad_value
                if missing and slot * cfg.stride < cfg.before:  # this one starts in the padding
                    first = Mux(position == 0, value + missing, value)
                joined = self._combine(before, value) if cfg.mode == "sum" else \
                    Mux(flush, before, self._combine(before, code))  # not behind each other
                m.d.comb += window.eq(Mux(start, first, joined))
                windows.append(window)
            windows.append(value)
            for slot in range(cfg.slots):
                m.d.comb += new.word_select(slot * lanes + lane, width).eq(
                    Mux(complete, windows[slot + 1], windows[slot]))
            with m.If(step):
                m.d.sync += self.o.payload.data[lane].eq(windows[0])
        with m.If(advance):
            m.d.sync += self.o.valid.eq(step & complete)
        with m.If(step):
            m.d.sync += self.o.payload.last.eq(final & run_end & beat_end)
        return m

    def _combine(self, a: Value, b: Value) -> Value:
        kind = self.config.out_type
        if self.config.mode == "sum":
            return a + b
        if kind.bipolar:
            return a | b
        return Mux(number(a, kind) > number(b, kind), a, b)


@dataclass(frozen=True)
class PoolConfig(Block):
    """Maximum or sum over windows, columns first, then rows.

    Latency: 1 clock per axis, and the flush positions of windows that end in the padding.
    Interval: see :attr:`cycles`.

    Parameters
    ----------
    input
        Stream of the tensor.
    kernel, stride
        (vertical, horizontal) size and distance of the windows.
    pad
        (top, bottom, left, right), each less than the kernel; takes no part in a maximum.
    mode
        ``max`` or ``sum``.
    out_type
        Type of the output: that of the input for ``max``; for ``sum`` one that holds every sum,
        by default the narrowest.
    pad_value
        Integer that padding counts as in a sum.
    """

    input: TensorStream
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    mode: str = "max"
    out_type: NumType | None = None
    pad_value: int = 0

    def __post_init__(self):
        if self.mode not in ("max", "sum"):
            raise ValueError(f"mode must be 'max' or 'sum', not {self.mode!r}")
        if min(*self.kernel, *self.stride) < 1:
            raise ValueError(f"kernel {list(self.kernel)} and stride {list(self.stride)} must be "
                             "at least 1")
        self.op.shape(self.input.shape)
        exact = self.exact_type
        if self.mode == "max" and self.output.dtype != exact:
            raise ValueError(f"out_type of a maximum is that of the input, {exact}, "
                             f"not {self.out_type}")
        if not holds(self.output.dtype, exact):
            raise ValueError(f"out_type {self.out_type} does not hold the sums, {exact}")

    @property
    def op(self) -> MaxPool:
        if self.mode == "max":
            return MaxPool(self.kernel, self.stride, self.pad)
        return SumPool(self.kernel, self.stride, self.pad, self.pad_value)

    @property
    def exact_type(self) -> NumType:
        """Narrowest type of the output."""
        return self.op.result_type((self.input.dtype,), (self.input.shape,))

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.input,)

    @property
    def output(self) -> TensorStream:
        return TensorStream(self.out_type or self.exact_type, self.op.shape(self.input.shape),
                            self.input.lanes)

    @property
    def stages(self) -> tuple[PoolAxisConfig, ...]:
        """Horizontal and vertical stage, as far as there is something to do."""
        top, bottom, left, right = self.pad
        axes = {1: (self.kernel[1], self.stride[1], left, right),
                0: (self.kernel[0], self.stride[0], top, bottom)}
        used = [axis for axis, plan in axes.items() if plan != (1, 1, 0, 0)] or [1]
        stages, stream = [], self.input
        for axis in used:
            kernel, stride, before, after = axes[axis]
            kind = self.output.dtype
            if axis != used[-1]:
                part = PoolConfig(stream, (1, kernel), (1, stride), (0, 0, before, after),
                                  self.mode, pad_value=self.pad_value)
                kind = part.exact_type
            # A padding row holds sums over padding.
            pad_value = self.pad_value * (self.kernel[1] if axis == 0 else 1)
            stages.append(PoolAxisConfig(stream, kind, axis, kernel, stride, before, after,
                                         self.mode, pad_value))
            stream = stages[-1].output
        return tuple(stages)

    @property
    def latency(self) -> int:
        return len(self.stages)

    @property
    def cycles(self) -> int:
        """The steps of the longer stage; or, as the horizontal stage waits with its first result
        while the vertical stage flushes, the clocks between its results and that flush."""
        first, *rest = self.stages
        if not rest:
            return first.steps
        emits = np.flatnonzero(first.emits())
        return max(first.steps, int(emits[-1] - emits[0]) + 1 + rest[0].flush)

    def compute(self, *tensors):
        return self.op.compute(*tensors)

    def create(self) -> "Pool":
        return Pool(self)

    def schedule(self, frames, *ready):
        first, *rest = self.stages
        wait = first.wait(ready[0])
        if not rest:
            steps = as_soon_as_possible(wait.reshape(-1)).reshape(wait.shape)
            offered = steps[:, first.emits()].reshape(-1) + 1
            return Schedule((first.taken(steps),), offered, offered)

        # The vertical stage takes a result one clock after its step, but for the first of a
        # frame, which waits for the flush of the frame before; the step behind it then waits too.
        second, = rest
        emits = np.flatnonzero(first.emits())
        steps, second_steps = np.empty_like(wait), np.empty((frames, second.steps), dtype=np.int64)
        flushed = start = NEVER
        for frame in range(frames):
            behind = emits[0] + 1
            if behind < first.steps:
                wait[frame, behind] = max(wait[frame, behind], flushed)
            steps[frame] = as_soon_as_possible(wait[frame], start=start)
            taken = steps[frame, emits] + 1
            taken[0] = max(taken[0], flushed)
            second_steps[frame, :len(taken)] = taken
            second_steps[frame, len(taken):] = taken[-1] + 1 + np.arange(second.flush)
            flushed = taken[-1] + second.flush + 1
            start = max(steps[frame, -1] + 1, taken[-1])
        offered = second_steps[:, second.emits()].reshape(-1) + 1
        return Schedule((first.taken(steps),), offered, offered)

    def estimate(self, family):
        return sum((stage.estimate() for stage in self.stages), Resources())


class Pool(wiring.Component):
    """Hardware of :class:`PoolConfig`: the stages, one behind the other.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: PoolConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        source = wiring.flipped(self.i)
        for stage in self.config.stages:
            name = "columns" if stage.axis else "rows"
            m.submodules[name] = hardware = stage.create()
            wiring.connect(m, source, hardware.i)
            source = hardware.o
        wiring.connect(m, source, wiring.flipped(self.o))
        return m
