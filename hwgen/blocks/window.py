"""Sliding windows: the input vectors of a convolution, cut from a stream of pixels (im2col).

Two blocks with one meaning. :class:`~hwgen.blocks.window_reader.WindowReaderConfig` keeps rows in a
ring memory and reads each window element by element, ``lanes`` channels per beat; padding costs no
clocks. :class:`~hwgen.blocks.window_shift.WindowShiftConfig` shifts pixels through a register
window with row delays and gives whole windows, ``lanes`` channels of every element per beat.
"""

from dataclasses import dataclass

import numpy as np
from amaranth import Cat, Const, Value

from ..ops import Conv, windows
from ..streams import TensorStream
from ..types import NumType, smallest_type
from .block import Block

__all__ = ["Window", "WindowGeometry", "convert_codes", "window_type"]


def window_type(dtype: NumType, conv: Conv) -> NumType:
    """Type of window elements: the input's, widened if the padding value is not one of it."""
    if not any(conv.pad) or bool(dtype.contains(conv.pad_value)):
        return dtype
    return smallest_type(min(dtype.low, conv.pad_value), max(dtype.high, conv.pad_value))


@dataclass(frozen=True)
class WindowGeometry:
    """Kernel placement, as in PyTorch.

    Parameters
    ----------
    kernel, stride, dilation
        (vertical, horizontal).
    pad
        (top, bottom, left, right), each smaller than the kernel's extent.
    pad_value
        Integer that padding stands for.
    groups
        Channel groups; windows of one group come together.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_value: int = 0
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @classmethod
    def of(cls, conv: Conv) -> "WindowGeometry":
        return cls(conv.kernel, conv.stride, conv.pad, conv.pad_value, conv.dilation, conv.groups)

    def split(self) -> tuple["WindowGeometry", "WindowGeometry"]:
        """Columns of a window, and windows of columns."""
        top, bottom, left, right = self.pad
        return (WindowGeometry((self.kernel[0], 1), (self.stride[0], 1), (top, bottom, 0, 0),
                               self.pad_value, (self.dilation[0], 1), self.groups),
                WindowGeometry((1, self.kernel[1]), (1, self.stride[1]), (0, 0, left, right),
                               self.pad_value, (1, self.dilation[1]), self.groups))

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns from the first to the last element of a window."""
        return ((self.kernel[0] - 1) * self.dilation[0] + 1,
                (self.kernel[1] - 1) * self.dilation[1] + 1)

    @property
    def area(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def positions(self, height: int, width: int) -> tuple[int, int]:
        """Output (height, width)."""
        top, bottom, left, right = self.pad
        return ((height + top + bottom - self.extent[0]) // self.stride[0] + 1,
                (width + left + right - self.extent[1]) // self.stride[1] + 1)


class Window(Block):
    """What both blocks share: the stream of windows that they make."""

    input: TensorStream
    geometry: WindowGeometry
    out_type: NumType
    group_parallel: int

    def _check(self) -> None:
        g = self.geometry
        if max(g.pad[:2]) >= g.extent[0] or max(g.pad[2:]) >= g.extent[1]:
            raise ValueError(f"pad {list(g.pad)} must be smaller than the kernel's extent "
                             f"{list(g.extent)}")
        per_group = self.input.channels // g.groups
        lanes = self.input.lanes
        if self.group_parallel > 1 and lanes != self.group_parallel * per_group:
            raise ValueError(f"group_parallel {self.group_parallel} needs "
                             f"{self.group_parallel * per_group} lanes, the stream has {lanes}")
        if self.group_parallel == 1 and per_group % lanes:
            raise ValueError(f"lanes ({lanes}) must divide the channels of a group ({per_group})")
        if g.groups % self.group_parallel:
            raise ValueError(f"group_parallel ({self.group_parallel}) must divide the groups "
                             f"({g.groups})")

    @property
    def inputs(self):
        return (self.input,)

    @property
    def rounds(self) -> int:
        return self.geometry.groups // self.group_parallel

    @property
    def chunks(self) -> int:
        """Input beats of a pixel in each round."""
        return self.input.beats_per_pixel // self.rounds

    @property
    def positions(self) -> tuple[int, int]:
        return self.geometry.positions(*self.input.shape[:2])

    def _elements(self, x: np.ndarray) -> np.ndarray:
        """(frames, OH, OW, rounds, chunks, group_parallel, lanes per group, KH, KW)."""
        g = self.geometry
        view = windows(x, g.kernel, g.stride, g.pad, g.pad_value, g.dilation)
        gp = self.group_parallel
        return view.reshape(*view.shape[:3], self.rounds, self.chunks, gp,
                            self.input.lanes // gp, *g.kernel)


def convert_codes(codes: Value, lanes: int, source: NumType, target: NumType) -> Value:
    """Wire codes of one type as those of a type that contains it."""
    if source == target:
        return codes
    converted = []
    for n in range(lanes):
        code = codes.word_select(n, source.width)
        number = Cat(Const(1, 1), ~code).as_signed() if source.bipolar else \
            code.as_signed() if source.signed else code
        if len(number) < target.width:
            sign = number[-1] if number.shape().signed else Const(0, 1)
            number = Cat(number, sign.replicate(target.width - len(number)))
        converted.append(number[:target.width])
    return Cat(*converted)
