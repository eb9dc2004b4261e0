"""Random chains of real operations, for hypothesis."""

from fractions import Fraction

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from hwgen.ops import ROUNDINGS, Bias, Clip
from hwgen.real_ops import (
    FUNCTIONS,
    REAL,
    Affine,
    Clamp,
    Function,
    LeakyRelu,
    Quantize,
    RealThreshold,
)
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.graphs import GraphBuilder, all_values

__all__ = ["batch_norms", "chains", "clamps", "few", "leaky_relus", "numbers", "positive",
           "quantizers", "thresholds"]


def few(examples: int):
    """Settings of every property test: the same examples in each run."""
    return settings(derandomize=True, max_examples=examples, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))


IN_TYPES = (BIPOLAR, TERNARY, int_type(2), int_type(5), uint_type(1), uint_type(4), uint_type(6),
            int_type(7))
OUT_TYPES = (BIPOLAR, TERNARY, int_type(2), int_type(4), uint_type(1), uint_type(2), uint_type(4),
             int_type(5))

powers_of_two = st.sampled_from([Fraction(2) ** e for e in range(-3, 3)])
numbers = powers_of_two | st.builds(Fraction, st.integers(-20, 20),
                                    st.sampled_from([1, 2, 3, 7, 8]))
positive = numbers.map(lambda n: abs(n) or Fraction(1))


@st.composite
def quantizers(draw, channels):
    """Wide and narrow ones, of one scale or one for each channel."""
    dtype = draw(st.sampled_from(OUT_TYPES))
    bounds = None
    if not dtype.bipolar and dtype.width > 2 and draw(st.booleans()):
        bounds = (dtype.low + draw(st.integers(0, 2)), dtype.high - draw(st.integers(0, 2)))
    scale = tuple(draw(positive) for _ in range(draw(st.sampled_from([1, 1, channels]))))
    return Quantize(dtype, scale, draw(st.sampled_from([0, 0, 1, -2, 5, Fraction(7, 3)])),
                    draw(st.sampled_from(ROUNDINGS)), bounds)


@st.composite
def thresholds(draw, channels):
    number = draw(st.integers(1, 4))
    row = st.lists(numbers, min_size=number, max_size=number).map(lambda r: tuple(sorted(r)))
    rows = draw(st.sampled_from([1, channels]))
    return RealThreshold(tuple(draw(row) for _ in range(rows)), int_type(5),
                         draw(st.integers(-3, 2)), draw(st.integers(1, 3)))


@st.composite
def batch_norms(draw, channels):
    slopes = st.one_of(positive, numbers)  # numbers: negative and zero gamma
    offsets = st.one_of(st.just(Fraction(0)), numbers)
    return Affine(tuple(draw(slopes) for _ in range(draw(st.sampled_from([1, channels])))),
                  tuple(draw(offsets) for _ in range(channels)))


@st.composite
def clamps(draw):
    low = draw(st.none() | st.just(Fraction(0)) | numbers)
    high = draw(st.none() | numbers)
    if low is not None and high is not None:
        low, high = min(low, high), max(low, high)
    return Clamp(low, high)


@st.composite
def leaky_relus(draw, channels):
    slopes = st.one_of(positive, positive, numbers)  # numbers: negative ones and 0
    return LeakyRelu(tuple(draw(slopes) for _ in range(draw(st.sampled_from([1, channels])))))


functions = st.sampled_from(sorted(FUNCTIONS)).map(Function)


@st.composite
def chains(draw):
    """(graph of one chain that ends in a quantizer, every value of its input)."""
    channels = draw(st.integers(1, 3))
    dtype = draw(st.sampled_from(IN_TYPES))
    x = all_values(dtype, channels)
    builder = GraphBuilder(x.shape[1:], dtype, draw(positive), draw(st.just(0) | numbers))
    for n in range(draw(st.integers(0, 4))):
        real = builder.nodes and builder.nodes[-1].output.dtype == REAL
        kinds = [batch_norms(channels), clamps(), quantizers(channels), thresholds(channels),
                 leaky_relus(channels), functions]
        if not real:
            shift = st.lists(st.integers(-5, 5), min_size=channels, max_size=channels)
            kinds += [shift.map(Bias), st.builds(Clip, st.sampled_from([None, 0, -2]),
                                                 st.sampled_from([None, 2, 3]))]
        builder.add(f"op{n}", draw(st.one_of(kinds)))
    builder.add("act", draw(quantizers(channels) | thresholds(channels)))
    return builder.build(), x
