"""What every block is: a config with streams, clocks, a golden model and a hardware component."""

from dataclasses import dataclass, replace
from math import inf

import numpy as np
from amaranth.lib import wiring

from ..resources import Resources
from ..streams import TensorStream

__all__ = ["Block", "BufferedBlock", "PassThrough", "Schedule", "as_soon_as_possible"]


@dataclass(frozen=True)
class Schedule:
    """When a block takes and makes the beats of consecutive frames, in clocks.

    Parameters
    ----------
    taken
        For each input, the clock in which each beat leaves its FIFO.
    reserved
        The clock from which each output beat holds a place in the FIFO behind the block.
    offered
        The clock from which that FIFO could hand each beat on.
    peak
        Most rows the block's own input memory held at once; 0 if it has none to size.
    leaves
        For each output, which of these beats leave by it; empty where all leave by every output.
    """

    taken: tuple[np.ndarray, ...]
    reserved: np.ndarray
    offered: np.ndarray
    peak: int = 0
    leaves: tuple[np.ndarray, ...] = ()

    def of_output(self, port: int) -> tuple[np.ndarray, np.ndarray]:
        """``reserved`` and ``offered`` of the beats of an output."""
        if not self.leaves:
            return self.reserved, self.offered
        return self.reserved[self.leaves[port]], self.offered[self.leaves[port]]


def as_soon_as_possible(ready: np.ndarray, interval: int = 1, start: float = -inf) -> np.ndarray:
    """Earliest clocks ``t`` with ``t[k] >= ready[k]`` and ``t[k] >= t[k-1] + interval``.

    The max-plus recurrence in closed form: ``t[k] - k*interval`` is the running maximum of
    ``ready[k] - k*interval``.
    """
    # In place: these are most of the memory that a schedule goes through.
    steps = np.arange(0, len(ready) * interval, interval, dtype=np.int64)
    slack = ready - steps
    if start != -inf:
        np.maximum(slack, int(start), out=slack)
    np.maximum.accumulate(slack, out=slack)
    slack += steps
    return slack


class Block:
    """Base of block configs; subclasses are frozen dataclasses.

    A block has ports ``i`` (or ``i0``, ``i1``, ... when it takes several streams) and ``o`` (or
    ``o0``, ...).
    """

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        raise NotImplementedError

    @property
    def output(self) -> TensorStream:
        raise NotImplementedError

    def output_of(self, port: int) -> TensorStream:
        """Stream of an output, where there are several."""
        return self.output

    @property
    def latency(self) -> int:
        """Clocks from the acceptance of the last input beat that an output beat needs to the
        clock in which that output beat is offered, when nothing stalls."""
        raise NotImplementedError

    @property
    def cycles(self) -> int:
        """Clocks per frame in steady state, when neither starved nor stalled."""
        raise NotImplementedError

    @property
    def folding(self) -> dict[str, int]:
        """Parallelism, for reports; empty where there is no choice."""
        return {}

    @property
    def is_open(self) -> bool:
        """Whether it can't wait, as a part of a pipeline behind a gate: what is behind is always
        ready."""
        return False

    def opened(self) -> "Block | None":
        """The block as such a part; None if it can't be one, as it takes other than one beat a
        clock or makes more or fewer."""
        return None

    @property
    def takes_whole_pixels(self) -> bool:
        """Whether each beat, in and out, is a pixel."""
        return all(s.beats_per_pixel == 1 for s in (*self.inputs, self.output))

    def compute(self, *tensors: np.ndarray) -> np.ndarray:
        """Golden model: (frames, H, W, C) integers of the inputs to those of the output."""
        raise NotImplementedError

    def create(self) -> wiring.Component:
        """The hardware."""
        raise NotImplementedError

    def schedule(self, frames: int, *ready: np.ndarray) -> Schedule:
        """Clocks of every beat of ``frames`` frames when input beat k is there from ``ready[k]``
        and the output is never stalled."""
        raise NotImplementedError

    def estimate(self, family: str) -> Resources:
        """Predicted resources on a device family."""
        raise NotImplementedError


class BufferedBlock(Block):
    """Base of blocks that end in a FIFO of ``fifo_depth`` beats; with 0 they are open."""

    fifo_depth: int

    @property
    def fifo_entry(self) -> str:
        """The wire of the block's hardware that says when a beat enters the FIFO."""
        return "pipeline.fifo.i__valid"

    @property
    def is_open(self) -> bool:
        return self.fifo_depth == 0

    def with_fifo(self, depth):
        """The same with a FIFO of ``depth`` beats."""
        return replace(self, fifo_depth=depth)


class PassThrough(Block):
    """Base of blocks whose beats, those of ``stream``, go through as they are.

    Each takes ``latency`` clocks. Interval: 1 clock.
    """

    stream: TensorStream

    @property
    def inputs(self) -> tuple[TensorStream, ...]:
        return (self.stream,)

    @property
    def output(self) -> TensorStream:
        """The stream; that of each output where there are several."""
        return self.stream

    @property
    def cycles(self) -> int:
        return self.stream.beats

    def compute(self, *tensors):
        return tensors[0]

    def schedule(self, frames, *ready):
        taken = as_soon_as_possible(ready[0])
        return Schedule((taken,), taken, taken + self.latency)
