"""Run an activation unit behind an Elementwise block on every value that its input can have."""

import numpy as np

from hwgen.blocks.elementwise import ElementwiseConfig
from hwgen.streams import TensorStream
from tests.streams import check_block


def check_all_values(op, in_type, out_type, channels=1, lanes=1, values=None):
    """Every value of the input type (or those given) in every channel, at predicted clocks."""
    if values is None:
        values = np.arange(in_type.low, in_type.high + 1)
        values = values[in_type.contains(values)]
    frame = np.repeat(np.asarray(values), channels).reshape(1, 1, -1, channels)
    stream = TensorStream(in_type, frame.shape[1:], lanes)
    config = ElementwiseConfig(stream, ((op, out_type),), fifo_depth=32)
    check_block(config, tensors=[frame], stalls=((1.0, 1.0),))
