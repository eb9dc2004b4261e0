"""Tensor streams: a tensor, a few channels of one pixel per beat, valid/ready."""

from dataclasses import dataclass

import numpy as np
from amaranth.lib import data, stream

from .ops import Shape
from .types import NumType

__all__ = ["TensorStream"]


@dataclass(frozen=True)
class TensorStream:
    """Type of a tensor stream.

    Beats of a pixel come in ascending channel order, pixels in row-major order. The payload is
    ``data``, an array of ``lanes`` wire codes (lane 0 the lowest channel), and ``last``, asserted
    on the last beat of a frame.

    Parameters
    ----------
    dtype
        Type of each value.
    shape
        (height, width, channels) of a frame.
    lanes
        Values per beat; divides the channels.
    """

    dtype: NumType
    shape: Shape
    lanes: int

    def __post_init__(self):
        if self.channels % self.lanes:
            raise ValueError(f"lanes ({self.lanes}) must divide the channels ({self.channels})")

    @property
    def channels(self) -> int:
        return self.shape[2]

    @property
    def pixels(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def beats_per_pixel(self) -> int:
        return self.channels // self.lanes

    @property
    def beats(self) -> int:
        """Beats per frame."""
        return self.pixels * self.beats_per_pixel

    @property
    def data_width(self) -> int:
        """Bits of ``data``."""
        return self.lanes * self.dtype.width

    def with_lanes(self, lanes: int) -> "TensorStream":
        return TensorStream(self.dtype, self.shape, lanes)

    def same_beats(self, other: "TensorStream") -> bool:
        """Whether the wires carry the same: one may be the other flattened."""
        return (self.dtype, self.lanes, self.beats) == (other.dtype, other.lanes, other.beats)

    def payload(self) -> data.StructLayout:
        """Amaranth layout of a beat; lanes are unsigned wire codes."""
        return data.StructLayout({"data": data.ArrayLayout(self.dtype.width, self.lanes),
                                  "last": 1})

    def signature(self) -> stream.Signature:
        return stream.Signature(self.payload())

    def pack(self, tensor: np.ndarray) -> list[int]:
        """Frames (frames, H, W, C) to the ``data`` word of each beat."""
        codes = self.dtype.encode(tensor).reshape(-1, self.lanes)
        words = [0] * len(codes)
        for lane in range(self.lanes):
            shift = lane * self.dtype.width
            words = [w | int(c) << shift for w, c in zip(words, codes[:, lane].tolist())]
        return words

    def unpack(self, words: list[int]) -> np.ndarray:
        """Inverse of :meth:`pack`; words of whole frames."""
        mask = (1 << self.dtype.width) - 1
        codes = [[(w >> lane * self.dtype.width) & mask for lane in range(self.lanes)]
                 for w in words]
        return self.dtype.decode(np.array(codes, dtype=np.int64)).reshape(-1, *self.shape)

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        return f"{size} {self.dtype.name}, {self.lanes} lanes"
