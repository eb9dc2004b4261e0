"""ArgMax: the index of the largest channel."""

from dataclasses import dataclass, replace

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith.comparison import larger_of
from ..arith.compressor import Compressor
from ..ops import ArgMax as ArgMaxOp
from ..resources import Resources
from ..streams import TensorStream
from .block import Block, Schedule, as_soon_as_possible
from .counters import counter

__all__ = ["ArgMax", "ArgMaxConfig"]


@dataclass(frozen=True)
class ArgMaxConfig(Block):
    """Index of the largest channel of each pixel; the lowest index wins a tie.

    The lanes of a beat meet in a tree of comparators, one clock per level; its winner meets the
    best of the pixel so far. Interval: 1 clock per input beat.

    Parameters
    ----------
    input
        Stream of the tensor.
    stalls
        Whether what is behind may not be ready.
    """

    input: TensorStream
    stalls: bool = True

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.input,)

    @property
    def output(self) -> TensorStream:
        op, shape = ArgMaxOp(), self.input.shape
        return TensorStream(op.result_type((self.input.dtype,), (shape,)), op.shape(shape), 1)

    @property
    def levels(self) -> int:
        """Levels of the tree."""
        return (self.input.lanes - 1).bit_length()

    @property
    def latency(self) -> int:
        return self.levels + 1

    @property
    def cycles(self) -> int:
        return self.input.beats

    def compute(self, *tensors):
        return ArgMaxOp().compute(*tensors)

    @property
    def is_open(self):
        return not self.stalls

    def opened(self):
        return replace(self, stalls=False) if self.takes_whole_pixels else None

    def create(self) -> "ArgMax":
        return ArgMax(self)

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(ready[0])
        beats = self.input.beats_per_pixel
        offered = taken[beats - 1::beats] + self.latency
        return Schedule((taken,), offered, offered)

    def estimate(self, family):
        width, index = self.input.dtype.width, self.output.dtype.width
        lanes = self.input.lanes
        compare = 0.5 * width + width  # comparator and choice of the value
        kind = self.input.dtype
        tree = sum(-(-lanes // (2 << level)) * larger_of(kind.width, kind.signed, level)
                   .resources.lut for level in range(self.levels))
        lut, ff = tree, (lanes - 1) * (width + self.levels / 2)
        if self.input.beats_per_pixel > 1:
            lut, ff = lut + compare + 3 * index, ff + width + 3 * index
        lut += 6 if lanes == 1 else -7  # as fitted
        return Resources(lut=max(lut, 0), ff=ff + index + 2 * self.latency)


class ArgMax(wiring.Component):
    """Hardware of :class:`ArgMaxConfig`.

    Members
    -------
    i : :py:`In(config.input.signature())`
    o : :py:`Out(config.output.signature())`
    """

    def __init__(self, config: ArgMaxConfig):
        self.config = config
        super().__init__({"i": In(config.input.signature()), "o": Out(config.output.signature())})

    def elaborate(self, platform):
        m = Module()
        cfg = self.config
        advance = Signal()
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready if cfg.stalls else 1),
                     self.i.ready.eq(advance)]

        def registered(value: Value, name: str, reset_less: bool = True) -> Signal:
            held = Signal.like(value, name=name, reset_less=reset_less)
            with m.If(advance):
                m.d.sync += held.eq(value)
            return held

        # Tree: of two values the left, with the lower index, is kept unless the right is larger.
        # Codes of BIPOLAR compare like their values.
        signed, width = cfg.input.dtype.signed, cfg.input.dtype.width
        field = [(self.i.payload.data[n], Const(0, 0)) for n in range(cfg.input.lanes)]
        valid, last = self.i.valid, self.i.payload.last
        for level in range(cfg.levels):
            winners = []
            for n in range(0, len(field), 2):
                value, index = field[n]
                index = Cat(index, Const(0, 1))
                if n + 1 < len(field):
                    choice = larger_of(width, signed, level)
                    m.submodules[f"choice_{level}_{n // 2}"] = chosen = Compressor(
                        choice, 2 * (width + level), 0)
                    rival, rival_index = field[n + 1]
                    m.d.comb += chosen.shared.eq(Cat(value, rival, index[:-1], rival_index))
                    value, index = chosen.o[:width], chosen.o[width:]
                winners.append((registered(value, f"value_{level}_{n // 2}"),
                                registered(index, f"index_{level}_{n // 2}")))
            field = winners
            valid = registered(valid, f"valid_{level}", reset_less=False)
            last = registered(last, f"last_{level}")
        value, index = field[0]

        # Best of the pixel.
        step = Signal()
        m.d.comb += step.eq(advance & valid)
        beat, end = counter(m, cfg.input.beats_per_pixel, step, "beat")
        winner = Signal(cfg.output.dtype.width)
        if cfg.input.beats_per_pixel > 1:
            best = Signal.like(value, reset_less=True)
            best_index, base = Signal.like(winner, reset_less=True), Signal.like(winner)
            larger = beat == 0
            larger |= value.as_signed() > best.as_signed() if signed else value > best
            m.d.comb += winner.eq(Mux(larger, base + index, best_index))
            with m.If(step):
                m.d.sync += [best_index.eq(winner), base.eq(Mux(end, 0, base + cfg.input.lanes))]
                with m.If(larger):
                    m.d.sync += best.eq(value)
        else:
            m.d.comb += winner.eq(index)
        with m.If(advance):
            m.d.sync += self.o.valid.eq(valid & end)
        with m.If(step):
            m.d.sync += [self.o.payload.data[0].eq(winner), self.o.payload.last.eq(last)]
        return m
