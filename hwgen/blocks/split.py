"""Split: the channels of a tensor to several consumers; the inverse of Concat."""

from dataclasses import dataclass

import numpy as np
from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith.bit_heap import LUT_INPUTS
from ..resources import Resources
from ..streams import TensorStream
from .block import Block, Schedule, as_soon_as_possible
from .counters import spans, turns
from .parts import port_names

__all__ = ["Split", "SplitConfig"]


@dataclass(frozen=True)
class SplitConfig(Block):
    """Hands each consumer its part of every pixel's channels, in their order.

    Beats of a part of a pixel go to its consumer alone. Where a beat is a whole pixel, each takes
    its lanes of it as soon as it can, and the beat leaves the input when the last one has. Latency:
    0 clocks. Interval: 1 clock.

    Parameters
    ----------
    input
        Stream of the tensor.
    parts
        Channels of each consumer; two or more. Lanes divide them, or are all channels.
    """

    input: TensorStream
    parts: tuple[int, ...]

    def __post_init__(self):
        if len(self.parts) < 2:
            raise ValueError(f"split makes two or more parts, not {len(self.parts)}")
        if sum(self.parts) != self.input.channels:
            raise ValueError(f"parts {list(self.parts)} must have {self.input.channels} channels "
                             f"together")
        if not self.whole and any(part % self.input.lanes for part in self.parts):
            raise ValueError(f"lanes ({self.input.lanes}) must divide the parts "
                             f"{list(self.parts)} or be all channels")

    @property
    def whole(self) -> bool:
        """Whether a beat is a pixel."""
        return self.input.beats_per_pixel == 1

    @property
    def outputs(self) -> int:
        return len(self.parts)

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.input,)

    @property
    def output(self) -> TensorStream:
        """What all outputs carry together."""
        return self.input

    def output_of(self, port: int) -> TensorStream:
        count = self.parts[port]
        return TensorStream(self.input.dtype, (*self.input.shape[:2], count),
                            count if self.whole else self.input.lanes)

    @property
    def ends(self) -> np.ndarray:
        """Behind the last channel of each part."""
        return np.cumsum(self.parts)

    @property
    def latency(self) -> int:
        return 0

    @property
    def cycles(self) -> int:
        return self.input.beats

    def compute(self, *tensors):
        """A tensor for each part."""
        return tuple(np.split(tensors[0], self.ends[:-1], axis=-1))

    def create(self) -> "Split":
        return Split(self)

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(ready[0])
        if self.whole:
            return Schedule((taken,), taken, taken)
        beat = np.arange(len(taken)) % self.input.beats_per_pixel
        part = np.searchsorted(self.ends // self.input.lanes, beat, side="right")
        return Schedule((taken,), taken, taken,
                        leaves=tuple(part == n for n in range(self.outputs)))

    def estimate(self, family):
        count = self.outputs
        if self.whole:
            return Resources(lut=2 * count + 1 + count // 4 * 2, ff=count)
        bits = (self.input.beats_per_pixel - 1).bit_length()
        pixels = (self.input.pixels - 1).bit_length()
        # A flag is a table of the beat's place.
        flags = (2 * count - 1) * (0.5 if bits <= LUT_INPUTS else 1)
        return Resources(lut=3 * count + 1 + flags + (pixels > 0) * (3 + pixels / 2),
                         ff=bits + 2 * count + pixels + 1)


class Split(wiring.Component):
    """Hardware of :class:`SplitConfig`.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o0, o1, ... : :py:`Out(config.output_of(n).signature())`
    """

    def __init__(self, config: SplitConfig):
        self.config = config
        self.names = port_names("o", config.outputs)
        super().__init__({"i": In(config.input.signature())} | {
            name: Out(config.output_of(n).signature()) for n, name in enumerate(self.names)})

    def elaborate(self, platform):
        return self._copy_lanes() if self.config.whole else self._take_turns()

    def _copy_lanes(self) -> Module:
        m = Module()
        done, finished = Signal(self.config.outputs), Signal(self.config.outputs)
        m.d.comb += self.i.ready.eq(finished.all())
        for n, (name, end) in enumerate(zip(self.names, self.config.ends.tolist())):
            o = getattr(self, name)
            m.d.comb += [o.payload.last.eq(self.i.payload.last),
                         o.valid.eq(self.i.valid & ~done[n]), finished[n].eq(done[n] | o.ready)]
            m.d.comb += [o.payload.data[lane].eq(
                self.i.payload.data[end - self.config.parts[n] + lane])
                for lane in range(self.config.parts[n])]
        with m.If(self.i.valid):
            m.d.sync += done.eq(Mux(self.i.ready, 0, finished))
        return m

    def _take_turns(self) -> Module:
        m = Module()
        cfg = self.config
        beats = cfg.input.beats_per_pixel
        ends = [end // cfg.input.lanes for end in cfg.ends.tolist()]
        starts = [0, *ends[:-1]]
        step = Signal()
        # Whose turn it is, and for all parts but the last whether this beat is its pixel's last:
        # only the frame's last beat is marked in the input.
        pixel_end, flags = spans(m, beats, step, "beat", [
            *zip(starts, ends), *((end - 1, end) for end in ends[:-1])])
        turn, lasts = flags[:cfg.outputs], flags[cfg.outputs:]
        last_pixel = self._last_pixel(m, step & pixel_end)
        outputs = [getattr(self, name) for name in self.names]
        m.d.comb += [self.i.ready.eq(Cat(t & o.ready for t, o in zip(turn, outputs)).any()),
                     step.eq(self.i.valid & self.i.ready)]
        for t, o, last in zip(turn, outputs, [*(f & last_pixel for f in lasts),
                                              self.i.payload.last]):
            m.d.comb += [o.valid.eq(self.i.valid & t), o.payload.data.eq(self.i.payload.data),
                         o.payload.last.eq(last)]
        return m

    def _last_pixel(self, m, step: Value) -> Value:
        last, _ = turns(m, self.config.input.pixels, step, "pixel")
        return last
