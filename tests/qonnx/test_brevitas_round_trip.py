"""Brevitas modules, exported and imported: hardware's codes are those of Brevitas's own forward.

Brevitas computes in float32. Where that decides a code (a tie, or a value next to one), the
float64 evaluation of the exported file counts.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest

REASON = "Brevitas is not installed (pip install 'hwgen[brevitas]')"
torch = pytest.importorskip("torch", reason=REASON)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own deprecated parts
    pytest.importorskip("brevitas", reason=REASON)
    import brevitas.nn as qnn
    from brevitas.export import export_onnx_qcdq, export_qonnx
    from brevitas.proxy.runtime_quant import (
        ActQuantProxyFromInjectorBase,
        TruncQuantProxyFromInjector,
    )
    from brevitas.quant import (
        Int8ActPerTensorFixedPoint,
        Int8Bias,
        Int8WeightPerTensorFixedPoint,
        Int16Bias,
        ShiftedUint8ActPerTensorFloat,
        SignedBinaryActPerTensorConst,
        SignedBinaryWeightPerTensorConst,
        SignedTernaryActPerTensorConst,
        SignedTernaryWeightPerTensorConst,
        Uint8ActPerTensorFixedPoint,
    )
from torch import nn  # noqa: E402

from hwgen.golden import from_user, golden  # noqa: E402
from hwgen.onnx_import.importer import translate  # noqa: E402
from tests.qonnx_reference import NEAR, evaluate  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's exporter warns of its own parts

FRAMES = 8
FLOAT32 = 1e-3  # steps from a boundary within which float32 may decide a code otherwise


class Sum(nn.Module):
    """Two branches, added by a layer that quantizes both alike."""

    def __init__(self):
        super().__init__()
        self.input = qnn.QuantIdentity(bit_width=8, return_quant_tensor=True)
        self.left = qnn.QuantConv2d(3, 4, 3, padding=1, weight_bit_width=4)
        self.right = qnn.QuantConv2d(3, 4, 1, weight_bit_width=3)
        self.add = qnn.QuantEltwiseAdd(return_quant_tensor=True)
        self.relu = qnn.QuantReLU(bit_width=5)

    def forward(self, x):
        x = self.input(x)
        return self.relu(self.add(self.left(x), self.right(x)))


class SumOfScales(nn.Module):
    """A residual whose branches have quantizers of their own."""

    def __init__(self):
        super().__init__()
        self.input = qnn.QuantIdentity(bit_width=6)
        self.conv = qnn.QuantConv2d(3, 3, 3, padding=1, weight_bit_width=5)
        self.quantizer = qnn.QuantIdentity(bit_width=4)
        self.relu = qnn.QuantReLU(bit_width=4)

    def forward(self, x):
        x = self.input(x)
        return self.relu(self.quantizer(self.conv(x)) + x)


class Join(nn.Module):
    """Two branches of unequal scales side by side, and a layer that reads both."""

    def __init__(self):
        super().__init__()
        self.input = qnn.QuantIdentity(bit_width=8)
        self.left = nn.Sequential(qnn.QuantConv2d(3, 2, 1, weight_bit_width=4),
                                  qnn.QuantReLU(bit_width=4))
        self.right = nn.Sequential(qnn.QuantConv2d(3, 3, 3, padding=1, weight_bit_width=4),
                                   qnn.QuantReLU(bit_width=4))
        self.joined = qnn.QuantIdentity(bit_width=6)
        self.conv = qnn.QuantConv2d(5, 4, 3, weight_bit_width=4)
        self.output = qnn.QuantIdentity(bit_width=6)

    def forward(self, x):
        x = self.input(x)
        x = self.joined(torch.cat([self.left(x), self.right(x)], dim=1))
        return self.output(self.conv(x))


class Sums(nn.Module):
    """No quantizer at the end: sums leave, with a float bias."""

    def __init__(self):
        super().__init__()
        self.input = qnn.QuantIdentity(bit_width=8)
        self.conv = qnn.QuantConv2d(3, 4, 3, stride=2, padding=1, dilation=2, weight_bit_width=3)
        self.relu = qnn.QuantReLU(bit_width=2)
        self.dense = qnn.QuantLinear(4 * 2 * 2, 5, bias=True, weight_bit_width=8)

    def forward(self, x):
        x = self.relu(self.conv(self.input(x)))
        return self.dense(x.flatten(1))


def quantizer(bits: int = 8, **more: Any) -> nn.Module:
    return qnn.QuantIdentity(bit_width=bits, return_quant_tensor=True, **more)


def ending(bits: int) -> nn.Module:
    """A last quantizer; a quantized tensor leaving would be six outputs of a TorchScript file."""
    return qnn.QuantIdentity(bit_width=bits)


def relu(bits: int, **more: Any) -> nn.Module:
    return qnn.QuantReLU(bit_width=bits, return_quant_tensor=True, **more)


def dense() -> nn.Module:
    return nn.Sequential(
        quantizer(), qnn.QuantLinear(11, 13, bias=False, weight_bit_width=4), nn.BatchNorm1d(13),
        relu(3), qnn.QuantLinear(13, 7, bias=True, weight_bit_width=2, bias_quant=Int16Bias),
        ending(5))


def scale_per_channel() -> nn.Module:
    channels = {"weight_scaling_per_output_channel": True}
    return nn.Sequential(
        quantizer(7), qnn.QuantConv2d(3, 5, 3, padding=1, weight_bit_width=4, **channels),
        nn.BatchNorm2d(5), relu(4), nn.MaxPool2d(2),
        qnn.QuantConv2d(5, 5, 3, groups=5, padding=1, weight_bit_width=6, **channels),
        nn.BatchNorm2d(5), relu(4), qnn.QuantConv2d(5, 8, 1, weight_bit_width=2, **channels),
        relu(4), nn.Flatten(), qnn.QuantLinear(8 * 3 * 3, 4, weight_bit_width=4, **channels),
        ending(8))


def sequence() -> nn.Module:
    return nn.Sequential(
        quantizer(), qnn.QuantConv1d(2, 4, 5, stride=2, padding=2, weight_bit_width=4),
        nn.BatchNorm1d(4), relu(4), qnn.QuantConv1d(4, 3, 3, dilation=2, weight_bit_width=3),
        ending(4))


def transposed() -> nn.Module:
    return nn.Sequential(
        quantizer(4), qnn.QuantConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1,
                                               weight_bit_width=4), relu(4),
        qnn.QuantConvTranspose2d(4, 2, 2, stride=2, weight_bit_width=3), ending(5))


def bipolar() -> nn.Module:
    binary = {"weight_quant": SignedBinaryWeightPerTensorConst}
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst),
        qnn.QuantConv2d(3, 6, 3, padding=1, bias=False, **binary), nn.BatchNorm2d(6),
        qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst), nn.MaxPool2d(2), nn.Flatten(),
        qnn.QuantLinear(6 * 9, 8, bias=False, **binary), nn.BatchNorm1d(8),
        qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst))


def ternary() -> nn.Module:
    weights = {"weight_quant": SignedTernaryWeightPerTensorConst}
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=SignedTernaryActPerTensorConst),
        qnn.QuantLinear(11, 9, bias=False, **weights), nn.BatchNorm1d(9),
        qnn.QuantIdentity(act_quant=SignedTernaryActPerTensorConst),
        qnn.QuantLinear(9, 5, bias=False, **weights), ending(6))


def powers_of_two() -> nn.Module:
    kinds = {"weight_quant": Int8WeightPerTensorFixedPoint, "bias_quant": Int8Bias}
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint, return_quant_tensor=True),
        qnn.QuantConv2d(3, 4, 3, padding=1, bias=True, weight_bit_width=5, **kinds),
        qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint, bit_width=4,
                      return_quant_tensor=True),
        qnn.QuantConv2d(4, 4, 3, bias=True, weight_bit_width=4, **kinds),
        qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint, bit_width=4))


def zero_points() -> nn.Module:
    shifted = {"act_quant": ShiftedUint8ActPerTensorFloat}
    return nn.Sequential(
        qnn.QuantIdentity(**shifted), qnn.QuantConv2d(3, 4, 3, padding=1, weight_bit_width=8),
        nn.LeakyReLU(0.1), qnn.QuantIdentity(**shifted),
        qnn.QuantConv2d(4, 3, 3, weight_bit_width=4), qnn.QuantIdentity(**shifted))


def averages() -> nn.Module:
    return nn.Sequential(
        quantizer(), qnn.QuantConv2d(3, 4, 3, padding=1, weight_bit_width=4), relu(6),
        nn.AvgPool2d(2), quantizer(5), qnn.QuantConv2d(4, 3, 1, weight_bit_width=4),
        nn.AdaptiveAvgPool2d(1), ending(6))


def truncated() -> nn.Module:
    return nn.Sequential(
        quantizer(), qnn.QuantConv2d(3, 4, 3, padding=1, weight_bit_width=4), relu(4),
        qnn.TruncAvgPool2d(2, bit_width=4), qnn.QuantConv2d(4, 3, 2, weight_bit_width=4), relu(5),
        qnn.TruncAdaptiveAvgPool2d(1, bit_width=5), nn.Flatten(),
        qnn.QuantLinear(3, 4, weight_bit_width=4), ending(6))


def functions() -> nn.Module:
    return nn.Sequential(
        quantizer(), qnn.QuantLinear(11, 9, weight_bit_width=4), qnn.QuantSigmoid(bit_width=5),
        qnn.QuantLinear(9, 8, weight_bit_width=4), qnn.QuantTanh(bit_width=4),
        qnn.QuantLinear(8, 6, weight_bit_width=4), qnn.QuantHardTanh(bit_width=3, min_val=-1.0,
                                                                     max_val=1.0))


def upsampled() -> nn.Module:
    return nn.Sequential(
        quantizer(4), nn.Upsample(scale_factor=2, mode="nearest"),
        qnn.QuantConv2d(3, 2, 3, padding=1, weight_bit_width=4), nn.PixelUnshuffle(2), relu(4),
        nn.PixelShuffle(2), qnn.QuantConv2d(2, 2, 3, groups=2, weight_bit_width=4), ending(4))


class Entry(NamedTuple):
    """A network: what builds it, its input without batch, and the formats it can be written in."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    formats: tuple[str, ...] = ("qonnx", "qcdq", "qonnx_script", "qcdq_script")


IMAGE, VECTOR = (3, 6, 6), (11,)
# QCDQ has neither bipolar nor truncating quantizers, and takes a quantized bias from TorchScript
# only.
ONLY_QONNX = ("qonnx", "qonnx_script")
QUANTIZED_BIAS = ("qonnx", "qonnx_script", "qcdq_script")
NETWORKS = {
    "dense": Entry(dense, VECTOR, QUANTIZED_BIAS),
    "scale_per_channel": Entry(scale_per_channel, IMAGE),
    "sequence": Entry(sequence, (2, 19)),
    "transposed": Entry(transposed, (3, 4, 3)),
    "bipolar": Entry(bipolar, IMAGE, ONLY_QONNX),
    "ternary": Entry(ternary, VECTOR),
    "powers_of_two": Entry(powers_of_two, IMAGE, QUANTIZED_BIAS),
    "zero_points": Entry(zero_points, IMAGE),
    "averages": Entry(averages, IMAGE),
    "truncated": Entry(truncated, IMAGE, ONLY_QONNX),
    "functions": Entry(functions, VECTOR),
    "upsampled": Entry(upsampled, IMAGE),
    "equal_sum": Entry(Sum, IMAGE),
    "unequal_sum": Entry(SumOfScales, IMAGE),
    "concatenation": Entry(Join, IMAGE),
    "sums_at_the_end": Entry(Sums, IMAGE),
}
FAST = ("dense", "scale_per_channel")
CASES = [pytest.param((name, kind), marks=[pytest.mark.slow] * (name not in FAST),
                      id=f"{name}-{kind}")
         for name, entry in NETWORKS.items() for kind in entry.formats]


def trained(entry: Entry) -> nn.Module:
    """A network whose scales and batch norms have seen data, some of its gammas negative."""
    torch.manual_seed(7)
    module = entry.build()
    for _ in range(20):
        module(torch.randn(32, *entry.shape))
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.weight.data.uniform_(-1.0, 1.5)
            part.bias.data.normal_(0, 0.3)
    return module.eval()


class RoundTrip:
    """A network, its file, what was imported, and what each of the three computes."""

    def __init__(self, name: str, kind: str, folder):
        entry = NETWORKS[name]
        module = trained(entry)
        x = torch.randn(FRAMES, *entry.shape)
        self.taps = _forward(module, x)
        path = str(folder / f"{name}_{kind}.onnx")
        form, _, script = kind.partition("_")
        export = {"qonnx": export_qonnx, "qcdq": export_onnx_qcdq}[form]
        export(module, args=x[:1], export_path=path, dynamo=not script)
        self.model = onnx.load(path)
        self.importer = translate(path)
        self.graph = self.importer.model().to_graph()
        self.x = x.numpy()
        self.references = [evaluate(self.model, frame) for frame in self.x]
        self.quantizers = _activation_quantizers(self.model)

    def imported(self, tensor: str) -> np.ndarray | None:
        """A tensor of the file as the imported graph computes it; None if it is the host's."""
        value = self.importer.values.get(tensor)
        if value is None or value.layer not in self.graph.tensors():
            return None
        codes = self.graph.run_all(from_user(self.graph, self.x), (value.layer,))[value.layer]
        reals = self.graph.tensor(value.layer).to_real(codes)
        return reals.reshape(FRAMES, -1)[:, value.index[0]]


def _forward(module: nn.Module, x) -> list[np.ndarray]:
    """What every activation quantizer makes, in the order of the forward pass."""
    taps: list[np.ndarray] = []

    def note(_, __, output):
        value = output.value if hasattr(output, "value") else output
        taps.append(value.detach().numpy().astype(np.float64))

    hooks = [part.register_forward_hook(note) for part in module.modules()
             if isinstance(part, ActQuantProxyFromInjectorBase) and part.is_quant_enabled
             or isinstance(part, TruncQuantProxyFromInjector)]
    with torch.no_grad():
        taps_of_output = module(x)
    for hook in hooks:
        hook.remove()
    last = taps_of_output.value if hasattr(taps_of_output, "value") else taps_of_output
    return [*taps, last.numpy().astype(np.float64)]


def _activation_quantizers(model: onnx.ModelProto) -> list[str]:
    """Tensors that quantizers of data (not of weights) make, in the file's order."""
    dynamic, found = {model.graph.input[0].name}, []
    for node in model.graph.node:
        if dynamic.isdisjoint(node.input):
            continue
        dynamic.update(node.output)
        if node.op_type in ("Quant", "BipolarQuant", "Trunc", "DequantizeLinear"):
            found.append(node.output[0])
    return found


@pytest.fixture(scope="module", params=CASES)
def trip(request, tmp_path_factory):
    return RoundTrip(*request.param, tmp_path_factory.mktemp("onnx"))


def close(got, expected):
    return np.isclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_every_activation_quantizer_gives_brevitas_codes(trip):
    assert len(trip.taps) == len(trip.quantizers) + 1
    settled = np.ones(FRAMES, dtype=bool)  # frames in which float32 has not decided a code yet
    for name, tap in zip(trip.quantizers, trip.taps):
        got = trip.imported(name)
        if got is None:
            continue
        same = close(got, tap.reshape(got.shape)).reshape(FRAMES, -1).all(axis=1)
        for frame in np.flatnonzero(settled & ~same):
            margins = [m for m in trip.references[frame].margins.values()
                       if m.tie or m.distance < FLOAT32]
            assert margins, f"frame {frame} differs at {name}, far from every boundary"
        settled &= same
    assert settled.sum() >= FRAMES // 2


def test_every_activation_quantizer_gives_the_codes_of_the_exported_file(trip):
    for name in trip.quantizers:
        got = trip.imported(name)
        if got is None:
            continue
        for values, reference in zip(got, trip.references):
            if all(m.distance > NEAR for m in reference.margins.values()):
                np.testing.assert_allclose(values, reference.tensors[name][0], rtol=1e-9,
                                           atol=1e-12)


def test_the_output_is_brevitas_output(trip):
    # float32 sums of Brevitas: rounding, but no code differs where none is on a boundary.
    got = golden(trip.graph, trip.x)
    same = close(got, trip.taps[-1].reshape(got.shape)).reshape(FRAMES, -1).all(axis=1)
    assert same.sum() >= FRAMES // 2
    for frame in np.flatnonzero(~same):
        margins = trip.references[frame].margins.values()
        assert any(m.tie or m.distance < FLOAT32 for m in margins), f"frame {frame}"
