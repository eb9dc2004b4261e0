"""What is left to the host, in words and numbers that can be used."""

from fractions import Fraction

import pytest

from hwgen.graph import ArrayForm, Front, Graph, Tensor
from hwgen.host import host_lines, host_work
from hwgen.real_ops import Affine, Clamp, Function, LeakyRelu, Quantize, RealThreshold
from hwgen.types import BIPOLAR, int_type, uint_type

F = Fraction


def network(ops=(), tail=()):
    tensor = Tensor((1, 1, 2), int_type(4))
    return Graph("net", "x", tensor, ArrayForm.of((2,)), (), "x",
                 front=Front("x", tuple(ops)) if ops else None, host_tail=tuple(tail))


@pytest.mark.parametrize("op, words", [
    (Affine((F(2),), (F(-1, 2),)), "times 2 plus -0.5"),
    (Affine((F(1, 3), F(1)), (F(0),)), "times 1/3 to 1"),
    (Affine((F(1),), (F(0),)), "as it is"),
    (Clamp(F(0), None), "clamp to 0.."),
    (Clamp(F(-1), F(3, 4)), "clamp to -1..0.75"),
    (LeakyRelu((F(1, 8), F(1, 4))), "leaky ReLU of slope 0.125 to 0.25"),
    (Function("tanh"), "tanh"),
    (RealThreshold(((F(0), F(1), F(2)),), uint_type(2)), "threshold to UINT2"),
    (Quantize(BIPOLAR, F(1)), "sign"),
    (Quantize(int_type(16), F(1, 1024)), "quantize to INT16, scale 0.0009765625"),
    (Quantize(uint_type(8), F(1, 255), 83), "quantize to UINT8, scale 1/255, zero point 83"),
    (Quantize(int_type(4), F(1), F(1, 2), "floor", (-7, 7)),
     "quantize to INT4 -7..7, scale 1, zero point 0.5, rounding floor"),
    (Quantize(int_type(4), F(10**20 + 1, 3 * 10**20)),
     "quantize to INT4, scale 0.3333333333333333"),
])
def test_an_operation_in_front_of_the_input_is_described(op, words):
    assert host_work(network([op])) == {"input": [words], "output": []}


def test_operations_are_listed_in_order():
    work = host_work(network([Affine((F(2),), (F(0),)), Quantize(BIPOLAR, F(1))],
                             ["Softmax", "TopK"]))
    assert list(host_lines(work)) == ["input, on the host: times 2, sign",
                                      "left to the host: Softmax, TopK"]


def test_a_host_without_work_is_not_mentioned():
    assert list(host_lines(host_work(network()))) == []
