"""Dot products of unsigned lanes: gated bit planes, counters and a pipelined adder tree."""

from amaranth import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..resources import Resources

__all__ = ["DotProduct", "adder_tree", "tree_latency"]

COUNTER_INPUTS = 6


def _counter(m, bits: list[Value], name: str) -> Signal:
    """Number of ones among up to six bits, as a truth table: one LUT6 per output bit."""
    width = len(bits).bit_length()
    table = [sum((bin(n).count("1") >> k & 1) << n for n in range(1 << len(bits)))
             for k in range(width)]
    count = Signal(width, name=name, reset_less=True)
    m.d.sync += count.eq(Cat(Const(t, 1 << len(bits)).bit_select(Cat(*bits), 1) for t in table))
    return count


def _levels(terms: int, single_bits: bool) -> int:
    levels = 0
    if single_bits:
        terms, levels = -(-terms // COUNTER_INPUTS), 1
    while terms > 1:
        terms, levels = (terms + 1) // 2, levels + 1
    return max(levels, 1)


def tree_latency(terms: int, width: int) -> int:
    """Clocks of :func:`adder_tree` for that many terms of ``width`` bits."""
    return _levels(terms, width == 1)


def adder_tree(m, terms: list[Value], high: int, name: str) -> Value:
    """Sum of unsigned terms, each at most ``high``; a register behind every level.

    Terms of one bit are counted six at a time first.
    """
    highs = [high] * len(terms)
    level = 0
    if high == 1:
        groups = [terms[n:n + COUNTER_INPUTS] for n in range(0, len(terms), COUNTER_INPUTS)]
        terms = [_counter(m, group, f"{name}_count_{n}") for n, group in enumerate(groups)]
        highs = [len(group) for group in groups]
        level = 1
    while len(terms) > 1 or level == 0:
        sums, sum_highs = [], []
        for n in range(0, len(terms), 2):
            top = sum(highs[n:n + 2])
            total = Signal(range(top + 1), name=f"{name}_sum_{level}_{n // 2}", reset_less=True)
            m.d.sync += total.eq(sum(terms[n + 1:n + 2], terms[n]))
            sums.append(total)
            sum_highs.append(top)
        terms, highs, level = sums, sum_highs, level + 1
    return terms[0]


def _tree_cost(terms: int, high: int) -> tuple[int, int]:
    """LUTs and flip-flops of :func:`adder_tree`."""
    lut = ff = 0
    highs = [high] * terms
    if high == 1:
        highs = [len(range(n, min(n + COUNTER_INPUTS, terms)))
                 for n in range(0, terms, COUNTER_INPUTS)]
        lut = ff = sum(h.bit_length() for h in highs)
    while len(highs) > 1 or ff == 0:
        pairs = [highs[n:n + 2] for n in range(0, len(highs), 2)]
        lut += sum(sum(p).bit_length() for p in pairs if len(p) > 1)
        ff += sum(sum(p).bit_length() for p in pairs)
        highs = [sum(p) for p in pairs]
    return lut, ff


class DotProduct(wiring.Component):
    """``o[p] = sum(a[s] * u[p][s])`` over unsigned lanes, and ``total = sum(a[s])`` on request.

    With ``xnor`` (one-bit lanes) a product is 1 where the two bits are equal. Latency:
    ``latency`` clocks; interval: 1 clock; no handshake.

    Parameters
    ----------
    lanes
        Products in each sum.
    outputs
        Sums.
    a_width, u_width
        Bits of a lane of ``a`` and of ``u``.
    u_high
        Largest value of a lane of ``u``.
    xnor
        Multiply in {-1, +1}, count the positive products.
    total
        Also give the sum of ``a``.

    Members
    -------
    a : :py:`In(lanes * a_width)`
    u : :py:`In(outputs * lanes * u_width)`
        Lane ``s`` of output ``p`` at ``(p * lanes + s) * u_width``.
    o : :py:`Out(outputs * width)`
    total : :py:`Out(total_width)`
    """

    def __init__(self, lanes: int, outputs: int, a_width: int, u_width: int, *,
                 xnor: bool = False, total: bool = False):
        if xnor and (a_width, u_width) != (1, 1):
            raise ValueError("xnor takes one-bit lanes")
        self.lanes, self.outputs = lanes, outputs
        self.a_width, self.u_width = a_width, u_width
        self.xnor, self.with_total = xnor, total
        self.a_high = (1 << a_width) - 1
        self.width = (lanes * self.a_high * ((1 << u_width) - 1)).bit_length()
        self.total_width = (lanes * self.a_high).bit_length()
        super().__init__({"a": In(lanes * a_width), "u": In(outputs * lanes * u_width),
                          "o": Out(outputs * self.width), "total": Out(self.total_width)})

    @staticmethod
    def latency_of(lanes: int, a_width: int, u_width: int) -> int:
        """Clocks: the tree of one bit plane, then the planes' sum."""
        return tree_latency(lanes, a_width) + (_levels(u_width, False) if u_width > 1 else 0)

    @staticmethod
    def resources(lanes: int, outputs: int, a_width: int, u_width: int, xnor: bool,
                  total: bool) -> Resources:
        """Predicted LUTs and flip-flops: one LUT a bit of every adder, and those of the gates.

        The first adders take their gates into the LUTs that feed the carry chain, but for the
        chain's second operand; a counter of six gated bits takes six gates and three LUTs.
        """
        high = (1 << a_width) - 1
        lut, ff = _tree_cost(lanes, high)
        gates = lanes if a_width == 1 else a_width * ((lanes + 1) // 2 if lanes > 1 else 1)
        planes = outputs * u_width
        lut, ff = planes * (lut + gates), planes * ff
        count = u_width
        while count > 1:
            bits = a_width + lanes.bit_length() + u_width // 2
            lut += outputs * (count // 2) * bits
            ff += outputs * ((count + 1) // 2) * bits
            count = (count + 1) // 2
        if total:
            own, registers = _tree_cost(lanes, high)
            late = DotProduct.latency_of(lanes, a_width, u_width) - tree_latency(lanes, a_width)
            lut, ff = lut + own, ff + registers + late * (lanes * high).bit_length()
        return Resources(lut=lut, ff=ff)

    @property
    def latency(self) -> int:
        return self.latency_of(self.lanes, self.a_width, self.u_width)

    def elaborate(self, platform):
        m = Module()
        n = self.a_width
        a = [self.a[s * n:(s + 1) * n] for s in range(self.lanes)]
        for p in range(self.outputs):
            planes = []
            for bit in range(self.u_width):
                gates = [self.u[(p * self.lanes + s) * self.u_width + bit]
                         for s in range(self.lanes)]
                terms = [~(x ^ g) if self.xnor else x & g.replicate(n) for x, g in zip(a, gates)]
                planes.append(adder_tree(m, terms, self.a_high, f"out{p}_plane{bit}"))
            total = self._combine(m, planes, p)
            m.d.comb += self.o.word_select(p, self.width).eq(total)
        if self.with_total:
            total = adder_tree(m, a, self.a_high, "total")
            late = self.latency - tree_latency(self.lanes, n)
            for k in range(late):
                held = Signal.like(total, name=f"total_{k + 1}", reset_less=True)
                m.d.sync += held.eq(total)
                total = held
            m.d.comb += self.total.eq(total)
        return m

    def _combine(self, m, planes: list[Value], p: int) -> Value:
        """``sum(plane[k] << k)``, two planes at a time, a register behind each addition."""
        shift, level = 1, 0
        while len(planes) > 1:
            sums = []
            for k in range(0, len(planes), 2):
                total = Signal(self.width, name=f"out{p}_planes_{level}_{k // 2}", reset_less=True)
                pair = planes[k:k + 2]
                m.d.sync += total.eq(pair[0] + (pair[1] << shift) if len(pair) > 1 else pair[0])
                sums.append(total)
            planes, shift, level = sums, shift * 2, level + 1
        return planes[0]
