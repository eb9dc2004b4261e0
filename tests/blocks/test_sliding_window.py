from dataclasses import dataclass, replace

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.blocks.block import Block, Schedule
from hwgen.blocks.neuron_layer import NeuronLayerConfig
from hwgen.blocks.window import WindowGeometry, window_type
from hwgen.blocks.window_reader import WindowReaderConfig
from hwgen.blocks.window_shift import WindowShiftConfig
from hwgen.conv_choices import window_order
from hwgen.ops import Conv
from hwgen.streams import TensorStream
from hwgen.types import BIPOLAR, TERNARY, int_type, uint_type
from tests.streams import check_block, random_frames, trace_block

INT4 = int_type(4)
RUNS = ((1.0, 1.0), (0.6, 1.0), (0.6, 0.5))
FULL_SPEED = ((1.0, 1.0),)
ROOMY = 60  # rows of a ring that never fills, so that inputs are taken as they come
KINDS = [WindowReaderConfig, WindowShiftConfig]
GEOMETRIES = {  # size, geometry
    "3x3": ((4, 5), WindowGeometry((3, 3), pad=(1, 1, 1, 1))),
    "valid": ((4, 5), WindowGeometry((3, 3))),
    "strides": ((6, 5), WindowGeometry((3, 2), (2, 3), (1, 1, 0, 1))),
    "stride beyond the kernel": ((7, 8), WindowGeometry((1, 2), (3, 4), (0, 0, 1, 0))),
    "1x1 with stride": ((5, 4), WindowGeometry((1, 1), (2, 2))),
    "all pads differ": ((4, 3), WindowGeometry((4, 3), (1, 1), (0, 3, 2, 1))),
    "only above": ((3, 4), WindowGeometry((3, 1), (1, 1), (2, 0, 0, 0))),
    "only to the right": ((4, 3), WindowGeometry((1, 3), (1, 1), (0, 0, 0, 2))),
    "dilation": ((5, 5), WindowGeometry((2, 2), (1, 1), (1, 2, 2, 1), dilation=(3, 2))),
    "dilation and stride": ((6, 5), WindowGeometry((2, 2), (2, 3), (2, 0, 1, 2), dilation=(3, 3))),
    "kernel larger than the input": ((2, 3), WindowGeometry((3, 4), (1, 1), (2, 2, 3, 2))),
    "kernel as large as the input": ((4, 3), WindowGeometry((4, 3))),
    "rows that no window needs": ((8, 8), WindowGeometry((2, 2), (3, 3))),
    "1-D": ((1, 9), WindowGeometry((1, 4), (1, 2), (0, 0, 3, 1))),
    "1-D, one column": ((9, 1), WindowGeometry((3, 1), (2, 1), (1, 1, 0, 0))),
    "one pixel": ((1, 1), WindowGeometry((3, 3), (1, 1), (1, 1, 1, 1))),
}


def make_window(kind, size, geometry, dtype=INT4, channels=4, lanes=2, **given):
    stream = TensorStream(dtype, (*size, channels), lanes)
    conv = Conv(np.zeros((*geometry.kernel, 1, channels)), TERNARY, np.zeros(channels),
                pad=geometry.pad, pad_value=geometry.pad_value)
    return kind(stream, geometry, window_type(dtype, conv), **given)


@dataclass(frozen=True, eq=False)
class Pair(Block):
    """A window and the neuron layer that reads its output registers."""

    window: WindowReaderConfig | WindowShiftConfig
    layer: NeuronLayerConfig

    @property
    def inputs(self):
        return self.window.inputs

    @property
    def output(self):
        return self.layer.output

    @property
    def cycles(self):
        ends = self.schedule(4, np.zeros(4 * self.inputs[0].beats, dtype=int)).offered
        return int(ends[-1] - ends[-1 - self.output.beats])

    def compute(self, *tensors):
        return self.layer.compute(self.window.compute(*tensors))

    def schedule(self, frames, *ready):
        first = self.window.schedule(frames, *ready, hold=self.layer.hold)
        then = self.layer.schedule(frames, first.offered)
        return Schedule(first.taken, then.reserved, then.offered, first.peak)

    def create(self):
        return PairHardware(self)


class PairHardware(wiring.Component):
    def __init__(self, pair):
        self.pair = pair
        super().__init__({"i": In(pair.inputs[0].signature()), "o": Out(pair.output.signature())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.window = window = self.pair.window.create()
        m.submodules.layer = layer = self.pair.layer.create()
        wiring.connect(m, wiring.flipped(self.i), window.i)
        m.d.comb += [layer.i.valid.eq(window.o.valid), window.o.ready.eq(layer.i.ready),
                     layer.i.payload.as_value().eq(window.o.payload.as_value())]
        wiring.connect(m, wiring.flipped(self.o), layer.o)
        return m


def make_conv(geometry, channels, outputs, seed=0):
    weights = np.random.default_rng(seed).integers(
        -1, 2, (*geometry.kernel, channels // geometry.groups, outputs))
    return Conv(weights, TERNARY, np.arange(outputs), geometry.stride, geometry.pad,
                geometry.pad_value, geometry.dilation, geometry.groups)


def make_pair(kind, size, geometry, dtype=INT4, channels=2, outputs=4, pe=2, lanes=1,
              group_parallel=1, rows=0):
    conv = make_conv(geometry, channels, outputs)
    given = {"rows": rows} if kind is WindowReaderConfig else {}
    window = kind(TensorStream(dtype, (*size, channels), lanes), geometry,
                  window_type(dtype, conv), group_parallel=group_parallel, **given)
    order = "reader" if kind is WindowReaderConfig else "shift"
    matrix = window_order(conv, order, window.output.lanes // group_parallel)
    accumulator = conv.result_type((dtype,), (window.input.shape,))
    layer = NeuronLayerConfig(window.output, matrix, TERNARY, conv.bias, accumulator, pe=pe,
                              group_parallel=group_parallel, fifo_depth=64)
    return conv, Pair(window, layer)


@pytest.mark.parametrize("hold", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_clocks_of_whole_windows_that_are_held(name, hold):
    size, geometry = GEOMETRIES[name]
    for channels, lanes in ((2, 2), (4, 1)):
        window = make_window(WindowShiftConfig, size, geometry, channels=channels, lanes=lanes)
        ends = window.schedule(4, np.zeros(4 * window.input.beats, dtype=int), hold=hold).offered
        frame = int(ends[-1] - ends[-1 - window.output.beats])
        assert frame == window.held_cycles(hold)



@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_windows_of_every_geometry_come_at_the_predicted_clocks(name, kind):
    size, geometry = GEOMETRIES[name]
    # A padding value of the type, and one that needs a wider type.
    for pad_value, stalls in ((3, RUNS), (20, FULL_SPEED)) if any(geometry.pad) else ((0, RUNS),):
        given = {"rows": ROOMY} if kind is WindowReaderConfig else {}
        window = make_window(kind, size, replace(geometry, pad_value=pad_value), **given)
        check_block(window, frames=2, stalls=stalls)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [BIPOLAR, TERNARY, uint_type(2), int_type(5)])
def test_padding_of_every_type(dtype, kind):
    for value in (dtype.low, 0, dtype.high):
        geometry = WindowGeometry((2, 2), pad=(1, 0, 0, 1), pad_value=value)
        given = {"rows": ROOMY} if kind is WindowReaderConfig else {}
        check_block(make_window(kind, (2, 3), geometry, dtype, **given), stalls=FULL_SPEED)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hold", [1, 3])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_convolution_is_exact_and_its_pair_of_blocks_keeps_the_predicted_clocks(name, hold, kind):
    size, geometry = GEOMETRIES[name]
    conv, pair = make_pair(kind, size, geometry, outputs=hold, pe=1, rows=ROOMY)
    x = random_frames(pair.inputs[0], 3)
    np.testing.assert_array_equal(pair.compute(x), conv.compute(x))
    check_block(pair, tensors=[x], stalls=RUNS[hold == 1:2])


@pytest.mark.parametrize("kind, lanes, group_parallel", [
    (WindowReaderConfig, 1, 1), (WindowReaderConfig, 2, 1), (WindowReaderConfig, 4, 2),
    (WindowReaderConfig, 12, 6), (WindowShiftConfig, 2, 1), (WindowShiftConfig, 6, 3)])
def test_groups_are_convolved_apart(kind, lanes, group_parallel):
    geometry = WindowGeometry((2, 3), (1, 2), (1, 0, 1, 1), groups=6)
    conv, pair = make_pair(kind, (4, 4), geometry, channels=12, outputs=12, lanes=lanes, pe=2,
                           group_parallel=group_parallel, rows=ROOMY)
    x = random_frames(pair.inputs[0], 3)
    np.testing.assert_array_equal(pair.compute(x), conv.compute(x))
    check_block(pair, tensors=[x])


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_least_rows_of_a_reader_only_slow(name):
    size, geometry = GEOMETRIES[name]
    window = make_window(WindowReaderConfig, size, geometry)
    assert window.rows == window.least_rows
    check_block(window, predict=False, stalls=((1.0, 1.0), (0.5, 0.5)))


def spread_peak(pair, frames):
    """Peak of a ring under a source that spreads its beats over the frame, as rings are sized."""
    beats = pair.inputs[0].beats
    ready = (np.arange(frames)[:, None] * pair.cycles
             + np.arange(beats) * pair.cycles // beats).reshape(-1)
    return pair.schedule(frames, ready).peak


def interval(pair, rows, frames=5):
    """Clocks between the last two frames with a ring of that many rows."""
    fitted = Pair(replace(pair.window, rows=rows), pair.layer)
    _, (trace,) = trace_block(fitted, random_frames(pair.inputs[0], frames))
    return trace.passed[-1] - trace.passed[-1 - fitted.output.beats]


@pytest.mark.parametrize("hold", [1, 3])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_reader_with_the_rows_of_its_schedule_loses_no_clock(name, hold):
    _, pair = make_pair(WindowReaderConfig, *GEOMETRIES[name], outputs=hold, pe=1, rows=ROOMY)
    rows = max(spread_peak(pair, 5), pair.window.least_rows)
    assert interval(pair, rows) == pair.cycles


@pytest.mark.parametrize("name", ["valid", "strides", "1x1 with stride", "1-D",
                                  "kernel as large as the input"])
def test_a_reader_with_much_less_loses_clocks(name):
    _, pair = make_pair(WindowReaderConfig, *GEOMETRIES[name], outputs=1, pe=1, rows=ROOMY)
    assert spread_peak(pair, 5) > pair.window.least_rows
    assert interval(pair, pair.window.least_rows) > pair.cycles


@pytest.mark.parametrize("width, rows", [(6, 0), (40, 0), (40, 4), (70, 0), (70, 5)])
def test_rings_in_every_kind_of_memory(width, rows):
    geometry = WindowGeometry((3, 3), pad=(1, 1, 1, 1))
    window = make_window(WindowReaderConfig, (3, width), geometry, uint_type(8), 4, 4,
                         rows=rows)
    check_block(window, frames=2, predict=False, stalls=FULL_SPEED)


@pytest.mark.parametrize("width", [4, 18, 40, 90])
def test_row_delays_of_every_kind(width):
    geometry = WindowGeometry((3, 2), pad=(1, 1, 1, 0))
    window = make_window(WindowShiftConfig, (3, width), geometry, uint_type(8), 4, 4)
    check_block(window, frames=2, stalls=FULL_SPEED)


def test_clocks_of_a_frame():
    geometry = WindowGeometry((3, 3), pad=(1, 1, 1, 1))
    reader = make_window(WindowReaderConfig, (5, 6), geometry)
    assert reader.cycles == 5 * 6 * 9 * 2  # every element of every window, two beats each
    shift = make_window(WindowShiftConfig, (5, 6), geometry)
    assert shift.cycles == (5 + 2) * (6 + 2) * 2  # the padded frame passes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("geometry, given, text", [
    (WindowGeometry((3, 2), pad=(3, 0, 0, 0)), {},
     r"^pad \[3, 0, 0, 0\] must be smaller than the kernel's extent \[3, 2\]$"),
    (WindowGeometry((3, 3), groups=2), {"group_parallel": 2},
     "^group_parallel 2 needs 4 lanes, the stream has 2$"),
    (WindowGeometry((3, 3), groups=4), {},
     r"^lanes \(2\) must divide the channels of a group \(1\)$"),
    (WindowGeometry((3, 3), groups=1), {"group_parallel": 2, "lanes": 8, "channels": 4 * 2},
     "^group_parallel 2 needs 16 lanes, the stream has 8$"),
])
def test_what_can_not_be_built_is_refused(geometry, given, text, kind):
    with pytest.raises(ValueError, match=text):
        make_window(kind, (5, 5), geometry, **given)


def test_a_group_parallel_that_does_not_divide_the_groups_is_refused():
    with pytest.raises(ValueError, match=r"^group_parallel \(2\) must divide the groups \(3\)$"):
        make_window(WindowReaderConfig, (3, 3), WindowGeometry((2, 2), groups=3), channels=8,
                    lanes=4, group_parallel=2)


def test_a_ring_that_does_not_hold_a_window_is_refused():
    window = make_window(WindowReaderConfig, (5, 5), WindowGeometry((3, 3)))
    least = window.least_rows
    with pytest.raises(ValueError, match=rf"^rows \({least - 1}\) must be at least {least}$"):
        replace(window, rows=least - 1)


def test_whole_windows_of_several_groups_need_whole_groups_per_beat():
    with pytest.raises(ValueError, match="^whole windows of several groups need the channels of a "
                                         "group in one beat; use 4 lanes$"):
        make_window(WindowShiftConfig, (5, 5), WindowGeometry((3, 3), groups=2), channels=8)
