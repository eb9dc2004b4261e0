"""Dot products of activations with weights from a memory, as bit heaps.

With ``a`` an unsigned code of n bits, a product's bits are gated by the weight's, and a constant
that depends on the weights alone is left over (:func:`product_offsets`):

- BIPOLAR weights: ``a`` or its complement, for ``-a = ~a - (2**n - 1)``;
- TERNARY weights: ``a``, its complement, or 0;
- INT and UINT weights: a row of ``a`` for each bit; in the row of the sign the complement.

The constants of a sum are known when the weights are, so they join the bias.
"""

from functools import lru_cache

import numpy as np
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources
from ..types import TERNARY, NumType
from .bit_heap import Compression, Term, compress, compressed
from .compressor import Compressor

__all__ = ["DotProduct", "product_offsets"]

COUNTED_BITS = 1024
"""Bits of products up to which the LUTs of a sum are counted for an estimate."""

LUTS_A_JOINT = 3.3
"""LUTs for each bit where two sums that were counted apart become one, as measured."""

_AND, _NAND, _XNOR = 0b1000, 0b0111, 0b1001
# Index: bit of a, then the two bits of the weight's code: 01 is +1, 11 is -1.
_TERNARY = sum(bit << (a | code << 1) for a, code, bit in
               ((1, 0b01, 1), (0, 0b11, 1)))


def product_offsets(weights: np.ndarray, weight_type: NumType, a_width: int) -> np.ndarray:
    """By how much the sum of a product's bits exceeds ``weight * a``, for each weight."""
    high = (1 << a_width) - 1
    if weight_type.bipolar or weight_type == TERNARY:
        return np.where(weights < 0, high, 0)
    return np.full(weights.shape, high << weight_type.width - 1 if weight_type.signed else 0)


Sum = tuple[int, int, NumType, int]
"""Lanes, bits of an activation, type of weights and bits of a sum of products."""


@lru_cache(maxsize=4096)
def _compression(kind: Sum) -> Compression:
    return compress(*_heap(*kind))


@lru_cache(maxsize=4096)
def _resources(kind: Sum) -> Resources:
    return compressed(*_heap(*kind))


def _heap(lanes: int, a_width: int, weight_type: NumType, width: int
          ) -> tuple[list[list[Term]], int, int]:
    """The bits of the products, with the bits of their sum and the number of nets."""
    columns: list[list[Term]] = [[] for _ in range(a_width + weight_type.width)]
    for lane in range(lanes):
        code = lanes * a_width + lane * weight_type.width
        for n in range(a_width):
            a = lane * a_width + n
            if weight_type.bipolar:
                columns[n].append(Term((a, code), _XNOR))
            elif weight_type == TERNARY:
                columns[n].append(Term((a, code, code + 1), _TERNARY))
            else:
                for k in range(weight_type.width):
                    sign = weight_type.signed and k == weight_type.width - 1
                    columns[n + k].append(Term((a, code + k), _NAND if sign else _AND))
    return columns, width, lanes * (a_width + weight_type.width)


def _sum(lanes: int, a_width: int, weight_type: NumType, width: int) -> Sum:
    """A sum of no more bits than it can have."""
    codes = 1 if weight_type.bipolar or weight_type == TERNARY else (1 << weight_type.width) - 1
    high = lanes * ((1 << a_width) - 1) * codes
    return lanes, a_width, weight_type, min(width, high.bit_length())


class DotProduct(wiring.Component):
    """``o[p] = sum(a[s] * w[p][s] + offset of w[p][s])``, modulo ``2 ** width``.

    Latency: ``latency`` clocks; interval: 1 clock; no handshake.

    Parameters
    ----------
    lanes
        Products in each sum.
    outputs
        Sums.
    a_width
        Bits of a lane of ``a``, unsigned.
    weight_type
        Type of a lane of ``w``.
    width
        Bits of a sum; no more than it can have are made.

    Members
    -------
    a : :py:`In(lanes * a_width)`
    w : :py:`In(outputs * lanes * weight_type.width)`
        Lane ``s`` of output ``p`` at ``(p * lanes + s) * weight_type.width``.
    o : :py:`Out(outputs * width)`
    """

    def __init__(self, lanes: int, outputs: int, a_width: int, weight_type: NumType, width: int):
        self.lanes, self.outputs, self.a_width = lanes, outputs, a_width
        self.weight_type = weight_type
        self.compression = self.compression_of(lanes, a_width, weight_type, width)
        self.width = len(self.compression.output)
        super().__init__({"a": In(lanes * a_width), "w": In(outputs * lanes * weight_type.width),
                          "o": Out(outputs * self.width)})

    @staticmethod
    def compression_of(lanes: int, a_width: int, weight_type: NumType,
                       width: int) -> Compression:
        """The hardware of one sum."""
        return _compression(_sum(lanes, a_width, weight_type, width))

    @staticmethod
    def latency_of(lanes: int, a_width: int, weight_type: NumType, width: int) -> int:
        """Clocks from ``a`` and ``w`` to ``o``."""
        return DotProduct.compression_of(lanes, a_width, weight_type, width).latency

    @staticmethod
    def resources(lanes: int, outputs: int, a_width: int, weight_type: NumType,
                  width: int) -> Resources:
        """LUTs and flip-flops; of sums of very many bits, in proportion to a smaller one."""
        rows = 1 if weight_type.bipolar or weight_type == TERNARY else weight_type.width
        some = min(lanes, max(1, COUNTED_BITS // (a_width * rows)))
        one = _resources(_sum(some, a_width, weight_type, width))
        number = lanes / some
        reach = (1 << a_width) - 1 << rows
        joined = (number - 1) * LUTS_A_JOINT * min(width, (lanes * reach).bit_length())
        return Resources(lut=outputs * (number * one.lut + joined), ff=outputs * number * one.ff)

    @property
    def latency(self) -> int:
        return self.compression.latency

    def elaborate(self, platform):
        m = Module()
        m.submodules.tree = tree = Compressor(
            self.compression, self.lanes * self.a_width, self.lanes * self.weight_type.width,
            self.outputs)
        m.d.comb += [tree.shared.eq(self.a), tree.own.eq(self.w), self.o.eq(tree.o)]
        return m
