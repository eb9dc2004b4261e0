"""The model description, format version 1: every field of the file, validated on its own.

Classes are immutable pydantic models, one per layer type, joined by their ``type``. What depends
on other layers (shapes, types, names) is checked in :mod:`hwgen.model.to_graph`; what only depends
on the layer itself is said by :meth:`LayerBase.problems`.
"""

from collections.abc import Iterator
from math import prod
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationInfo, field_validator

from ..real_ops import REAL
from ..types import NumType
from .fields import (
    Code,
    CodeRange,
    FileName,
    FunctionName,
    Identifier,
    InputType,
    IntArray,
    Ints,
    Levels,
    NonNegativePerAxis,
    Number,
    NumberList,
    Numbers,
    Pad,
    PadLine,
    PerAxis,
    PositiveInt,
    PositiveNumber,
    PositiveNumbers,
    RequantizeRounding,
    RoundingMode,
    SamePad,
    ShapeList,
    Text,
    Title,
    ValueType,
)

__all__ = ["LAYER", "LAYER_TYPES", "Description", "Form", "Head", "InputTensor", "Join", "Layer",
           "LayerBase"]

ACCUMULATOR_WIDTH = 48
MAX_LOOKUP = 4096
MULTIPLIER_WIDTH = 32
MAX_SHIFT = 62


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Form(_Strict):
    """How a user's array becomes a tensor: ``array.reshape(view).transpose(axes)``, without the
    dimension of frames, has the tensor's values in its order."""

    shape: tuple[PositiveInt, ...] = Field(description="shape of the user's array of one frame")
    view: tuple[PositiveInt, ...] | None = Field(
        default=None, description="shape with as many elements that is transposed; default: shape")
    axes: tuple[int, ...] | None = Field(
        default=None, description="for each axis of the result, the axis of view; default: "
                                  "0, 1, 2, ...")

    def problems(self) -> Iterator[tuple[str, str]]:
        """(field, what is wrong)."""
        view = self.shape if self.view is None else self.view
        if prod(view) != prod(self.shape):
            yield "view", (f"{list(view)} holds {prod(view)} values, shape {list(self.shape)} "
                           f"{prod(self.shape)}")
        if self.axes is not None and sorted(self.axes) != list(range(len(view))):
            yield "axes", (f"must be each of 0 to {len(view) - 1} once, found "
                           f"{list(self.axes)}")


class InputTensor(_Strict):
    """The tensor that enters the network: real value = scale * (integer - zero_point)."""

    name: Identifier = Field(description="name of the tensor; layers read it by this name")
    shape: ShapeList = Field(
        description="[height, width, channels], [length, channels] or [channels]")
    type: InputType = Field(
        description="BIPOLAR, TERNARY, INT2 to INT32, UINT1 to UINT32; or FLOAT: real values that "
                    "the host quantizes as the first layers say")
    scale: PositiveNumber = Field(default=1, validate_default=True,
                                  description="real value of one step of the integer")
    zero_point: Code = Field(default=0, description="the integer that means real 0")
    form: Form | None = Field(default=None, description="what the user's array looks like; "
                                                        "default: as shape")

    def problems(self) -> Iterator[tuple[str, str]]:
        """(field, what is wrong) where fields contradict each other."""
        if self.type.bipolar and self.zero_point:
            yield "zero_point", f"must be 0 for BIPOLAR, found {self.zero_point}"
        if self.type == REAL and (self.scale, self.zero_point) != (1, 0):
            yield "scale", "and zero_point must be left out for FLOAT, whose values are real"
        if self.form is not None:
            yield from ((f"form.{field}", text) for field, text in self.form.problems())
            if prod(self.form.shape) != prod(self.shape):
                yield "form.shape", (f"{list(self.form.shape)} holds {prod(self.form.shape)} "
                                     f"values, the input {list(self.shape)} has "
                                     f"{prod(self.shape)}")


class LayerBase(_Strict):
    """Fields of every layer."""

    name: Identifier = Field(description="name of the layer and of the tensor it makes")
    input: Identifier | None = Field(
        default=None, description="tensor to read; default: the previous layer, or for the first "
                                  "layer the network's input")

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the tensors that the layer reads."""
        return (self.input,) if self.input is not None else ()

    def problems(self) -> Iterator[tuple[str, str]]:
        """(field, what is wrong) where fields of this layer contradict each other."""
        return iter(())


class Join(_Strict):
    """Fields of a layer that reads several tensors."""

    name: Identifier = Field(description="name of the layer and of the tensor it makes")
    inputs: tuple[Identifier, ...] = Field(min_length=2, description="two or more tensors to read")

    @property
    def reads(self) -> tuple[str, ...]:
        return self.inputs

    def problems(self) -> Iterator[tuple[str, str]]:
        return iter(())


def _one_each(field: str, given: int, wanted: int, what: str) -> Iterator[tuple[str, str]]:
    if given not in (1, wanted):
        yield field, f"has {given} entries, must be one number or one for each of {wanted} {what}"


class _Weighted(LayerBase):
    weight_type: ValueType = Field(
        description="BIPOLAR, TERNARY, INT2 to INT32 or UINT1 to UINT32")
    weight_scale: Numbers = Field(
        default=1, validate_default=True,
        description="real value of one step of a weight: one number, or one per output channel")
    bias: IntArray | None = Field(
        default=None, description="one integer per output channel, added to the integer sum")

    axes: ClassVar[str] = ""

    @property
    def outputs(self) -> int:
        return self.weights.shape[-1]  # type: ignore[attr-defined]

    @field_validator("weights", check_fields=False)
    @classmethod
    def _weights_fit(cls, weights: np.ndarray, info: ValidationInfo) -> np.ndarray:
        rank = cls.axes.count(",") + 1
        if weights.ndim != rank:
            raise ValueError(f"must be [{cls.axes}], found {weights.ndim} "
                             f"dimension{'s' * (weights.ndim != 1)} {list(weights.shape)}")
        dtype: NumType | None = info.data.get("weight_type")
        if dtype is not None:
            bad = np.argwhere(~dtype.contains(weights))
            if len(bad):
                index = tuple(bad[0].tolist())
                raise ValueError(f"{weights[index]} at {list(index)} is no {dtype}; "
                                 f"{len(bad)} of {weights.size} weights are not")
        return weights

    @field_validator("bias")
    @classmethod
    def _bias_fits(cls, bias: np.ndarray | None) -> np.ndarray | None:
        return None if bias is None else _per_channel_integers(bias)

    @field_validator("weight_scale")
    @classmethod
    def _scale_is_not_zero(cls, scale: tuple) -> tuple:
        for n, entry in enumerate(scale):
            if entry == 0:
                raise ValueError(f"must not be 0, found 0 at [{n}]")
        return scale

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.bias is not None and len(self.bias) != self.outputs:
            yield "bias", (f"has {len(self.bias)} entries, must have one for each of "
                           f"{self.outputs} output channels")
        yield from _one_each("weight_scale", len(self.weight_scale), self.outputs,
                             "output channels")


def _per_channel_integers(values: np.ndarray) -> np.ndarray:
    if values.ndim != 1:
        raise ValueError("must be a list of one integer per channel, found "
                         f"{values.ndim} dimensions {list(values.shape)}")
    limit = 1 << (ACCUMULATOR_WIDTH - 1)
    bad = np.flatnonzero((values < -limit) | (values >= limit))
    if len(bad):
        raise ValueError(f"must be integers of at most {ACCUMULATOR_WIDTH} bits, found "
                         f"{values[bad[0]]} at [{bad[0]}]")
    return values


class _Grouped(_Weighted):
    pad_value: Code | None = Field(
        default=None, description="integer that padding reads as; default: the integer that means "
                                  "real 0 in the input")
    groups: PositiveInt = Field(default=1, description="groups of channels convolved apart")

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from super().problems()
        if self.outputs % self.groups:
            yield "groups", f"must divide the {self.outputs} output channels, found {self.groups}"


class Conv2d(_Grouped):
    """2-D convolution (cross-correlation, as everywhere in this field)."""

    type: Literal["conv2d"]
    weights: IntArray = Field(
        description="[kernel height, kernel width, input channels / groups, output channels]")
    stride: PerAxis = Field(default=1, description="n or [vertical, horizontal]")
    pad: SamePad = Field(default=0, description='n, [vertical, horizontal], [top, bottom, left, '
                                                'right] or "same" (as TensorFlow\'s SAME)')
    dilation: PerAxis = Field(default=1, description="n or [vertical, horizontal]")

    axes: ClassVar[str] = ("kernel height, kernel width, input channels / groups, output channels")


class Conv1d(_Grouped):
    """1-D convolution of a tensor [length, channels]."""

    type: Literal["conv1d"]
    weights: IntArray = Field(description="[kernel, input channels / groups, output channels]")
    stride: PositiveInt = Field(default=1, description="step along the length")
    pad: PadLine = Field(default=0, description='n, [before, after] or "same" (as TensorFlow\'s '
                                                "SAME)")
    dilation: PositiveInt = Field(default=1, description="distance of the kernel's entries")

    axes: ClassVar[str] = "kernel, input channels / groups, output channels"


class ConvTranspose2d(_Weighted):
    """Transposed 2-D convolution: each input pixel adds the kernel, times it, to the output."""

    type: Literal["conv_transpose2d"]
    weights: IntArray = Field(
        description="[kernel height, kernel width, input channels / groups, output channels]")
    stride: PerAxis = Field(default=1, description="n or [vertical, horizontal]: distance of the "
                                                   "input's pixels in the output")
    pad: Pad = Field(default=0, description="n, [vertical, horizontal] or [top, bottom, left, "
                                            "right]: rows and columns of the output left out")
    output_padding: NonNegativePerAxis = Field(
        default=0, description="n or [vertical, horizontal]: more rows at the bottom and columns "
                               "at the right")
    dilation: PerAxis = Field(default=1, description="n or [vertical, horizontal]")
    groups: PositiveInt = Field(default=1, description="groups of channels convolved apart")

    axes: ClassVar[str] = ("kernel height, kernel width, input channels / groups, output channels")

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from super().problems()
        if self.outputs % self.groups:
            yield "groups", f"must divide the {self.outputs} output channels, found {self.groups}"


class Dense(_Weighted):
    """Fully connected layer on a vector."""

    type: Literal["dense"]
    weights: IntArray = Field(description="[inputs, outputs]")

    axes: ClassVar[str] = "inputs, outputs"


class Bias(LayerBase):
    """Add one integer per channel."""

    type: Literal["bias"]
    values: IntArray = Field(description="one integer per channel, in units of the input's integer")

    @field_validator("values")
    @classmethod
    def _values_fit(cls, values: np.ndarray) -> np.ndarray:
        return _per_channel_integers(values)


class BatchNorm(LayerBase):
    """Batch normalization with the statistics of training: one multiply and add per channel."""

    type: Literal["batch_norm"]
    gamma: NumberList = Field(description="factor, one per channel")
    beta: NumberList = Field(description="summand, one per channel")
    mean: NumberList = Field(description="mean of the input, one per channel")
    variance: NumberList = Field(description="variance of the input, one per channel")
    epsilon: Number = Field(default=1e-5, validate_default=True,
                            description="added to the variance")

    def problems(self) -> Iterator[tuple[str, str]]:
        for field in ("beta", "mean", "variance"):
            if len(getattr(self, field)) != len(self.gamma):
                yield field, (f"has {len(getattr(self, field))} entries, must have as many as "
                              f"gamma, {len(self.gamma)}")
        for c, variance in enumerate(self.variance):
            if variance + self.epsilon <= 0:
                yield "variance", (f"channel {c}: variance + epsilon must be positive, found "
                                   f"{float(variance + self.epsilon)}")
                return


class Affine(LayerBase):
    """x * scale + offset of real values: only what the integers mean changes."""

    type: Literal["affine"]
    scale: Numbers = Field(default=1, validate_default=True,
                           description="factor: one number, or one per channel")
    offset: Numbers = Field(default=0, validate_default=True,
                            description="summand: one number, or one per channel")

    def problems(self) -> Iterator[tuple[str, str]]:
        sizes = {len(self.scale), len(self.offset)} - {1}
        if len(sizes) > 1:
            yield "offset", (f"has {len(self.offset)} entries, must be one number or as many as "
                             f"scale, {len(self.scale)}")


class LeakyRelu(LayerBase):
    """x where it is at least 0, else slope * x, of real values."""

    type: Literal["leaky_relu"]
    slope: Numbers = Field(description="factor of negative values: one number, or one per channel "
                                       "(PReLU)")


class Activation(LayerBase):
    """A function of real values, computed in float64."""

    type: Literal["activation"]
    function: FunctionName = Field(description="name of the function")


class Relu(LayerBase):
    """max(x, 0), or with ``max`` min(max(x, 0), max), of real values."""

    type: Literal["relu"]
    max: PositiveNumber | None = Field(default=None, description="upper bound, a real value")


class Clamp(LayerBase):
    """min(max(x, min), max) of real values."""

    type: Literal["clamp"]
    min: Number = Field(description="lower bound, a real value")
    max: Number = Field(description="upper bound, a real value")

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.min > self.max:
            yield "max", f"must be at least min, {float(self.min)}, found {float(self.max)}"


class Quantize(LayerBase):
    """Real values to integers: clip(round(x / scale + zero_point))."""

    type: Literal["quantize"]
    output_type: ValueType = Field(description="type of the integers")
    scale: PositiveNumbers = Field(
        description="real value of one step of the output: one number, or one per channel")
    zero_point: Number = Field(default=0, validate_default=True,
                               description="the output that means real 0, need not be an integer")
    rounding: RoundingMode = Field(default="half_even", description="how to round")
    range: CodeRange | None = Field(
        default=None, description="[lowest, highest] output; default: all of output_type")

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.range is not None:
            low, high = self.range
            if self.output_type.bipolar:
                yield "range", "must be left out for BIPOLAR, which is -1 or +1"
            elif low < self.output_type.low or high > self.output_type.high:
                yield "range", f"{list(self.range)} is not within {self.output_type}"
        if self.output_type.bipolar and self.zero_point:
            yield "zero_point", ("must be 0 for BIPOLAR, which is +1 where the real value is at "
                                 f"least 0, found {float(self.zero_point):g}")


class Threshold(LayerBase):
    """base + step * (number of levels that the real value reaches)."""

    type: Literal["threshold"]
    levels: Levels = Field(description="ascending real values: one list, or one per channel")
    output_type: ValueType = Field(description="type of the output")
    base: Code | None = Field(default=None, description="output below all levels; default: -1 for "
                                                        "BIPOLAR and TERNARY, else 0")
    scale: PositiveNumber = Field(default=1, validate_default=True,
                                  description="real value of one step of the output")

    @property
    def step(self) -> int:
        """What each level adds: 2 from -1 to +1, else 1."""
        return 2 if self.output_type.bipolar else 1

    @property
    def lowest(self) -> int:
        """Output below all levels."""
        if self.base is not None:
            return self.base
        return -1 if self.output_type.low == -1 and self.output_type.high == 1 else 0

    def problems(self) -> Iterator[tuple[str, str]]:
        count = len(self.levels[0])
        top = self.lowest + self.step * count
        if not self.output_type.contains(self.lowest):
            yield "base", f"{self.lowest} is no {self.output_type}"
        elif not self.output_type.contains(top):
            room = (self.output_type.high - self.lowest) // self.step
            yield "levels", (f"{count} levels from base {self.lowest} reach {top}, which is no "
                             f"{self.output_type}; give at most {room} or a wider output_type")


class Requantize(LayerBase):
    """clip(round(integer * multiplier / 2**shift) + zero_point), on integers."""

    type: Literal["requantize"]
    multiplier: Ints = Field(description="one integer, or one per channel")
    shift: Ints = Field(description="one integer, or one per channel")
    zero_point: Code = Field(default=0, description="integer added after rounding")
    rounding: RequantizeRounding = Field(
        default="half_up", description="how to round; tflite is TensorFlow Lite's double rounding")
    output_type: ValueType = Field(description="type of the output")
    scale: PositiveNumber | None = Field(
        default=None, description="real value of one step of the output, for the record; default: "
                                  "input scale * 2**shift / multiplier")

    @field_validator("multiplier")
    @classmethod
    def _multiplier_fits(cls, values: np.ndarray) -> np.ndarray:
        limit = 1 << (MULTIPLIER_WIDTH - 1)
        return _bounded(values, -limit, limit - 1)

    @field_validator("shift")
    @classmethod
    def _shift_fits(cls, values: np.ndarray) -> np.ndarray:
        return _bounded(values, 0, MAX_SHIFT)

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.output_type.bipolar:
            yield "output_type", ("must be able to hold 0, BIPOLAR does not; use threshold with "
                                  "output_type BIPOLAR")
        if self.scale is None and not self.multiplier.all():
            index = int(np.flatnonzero(self.multiplier == 0)[0])
            yield "multiplier", f"0 at [{index}] leaves the output without a scale; give scale"
        sizes = {len(self.multiplier), len(self.shift)} - {1}
        if len(sizes) > 1:
            yield "shift", (f"has {len(self.shift)} entries, must be one number or as many as "
                            f"multiplier, {len(self.multiplier)}")


def _bounded(values: np.ndarray, low: int, high: int) -> np.ndarray:
    if values.ndim != 1:
        raise ValueError("must be one integer or a list of one per channel, found "
                         f"{values.ndim} dimensions {list(values.shape)}")
    bad = np.flatnonzero((values < low) | (values > high))
    if len(bad):
        raise ValueError(f"must be from {low} to {high}, found {values[bad[0]]} at [{bad[0]}]")
    return values


class Lookup(LayerBase):
    """values[integer - first]: any function of few integers."""

    type: Literal["lookup"]
    values: IntArray = Field(description="[inputs] or [channels, inputs]: the output for each "
                                         "integer of the input's range, ascending")
    first: Code | None = Field(default=None, description="integer of the first entry; default: the "
                                                         "lowest of the input's type")
    output_type: ValueType = Field(description="type of the output")
    scale: PositiveNumber = Field(default=1, validate_default=True,
                                  description="real value of one step of the output")
    zero_point: Code = Field(default=0, description="the output that means real 0")

    @field_validator("values")
    @classmethod
    def _values_fit(cls, values: np.ndarray) -> np.ndarray:
        if values.ndim not in (1, 2):
            raise ValueError(f"must be [inputs] or [channels, inputs], found {values.ndim} "
                             f"dimensions {list(values.shape)}")
        if values.shape[-1] > MAX_LOOKUP:
            raise ValueError(f"has {values.shape[-1]} entries, at most {MAX_LOOKUP} can be built; "
                             "quantize the input to fewer bits")
        return values

    def problems(self) -> Iterator[tuple[str, str]]:
        bad = np.argwhere(~self.output_type.contains(self.values))
        if len(bad):
            index = tuple(bad[0].tolist())
            yield "values", f"{self.values[index]} at {list(index)} is no {self.output_type}"


class _Pool(LayerBase):
    kernel: PerAxis = Field(description="n or [vertical, horizontal]")
    stride: PerAxis | None = Field(default=None,
                                   description="n or [vertical, horizontal]; default: the kernel")
    ceil_mode: bool = Field(default=False, strict=True, description=(
        "one more window at the end of an axis where it starts within the input"))


class MaxPool(_Pool):
    """Largest value in each window; padding takes no part."""

    type: Literal["max_pool"]
    pad: SamePad = Field(default=0, description='n, [vertical, horizontal], [top, bottom, left, '
                                                'right] or "same" (as TensorFlow\'s SAME)')


class AveragePool(_Pool):
    """Mean of each window, kept exact as its integer sum; padding counts as real 0."""

    type: Literal["average_pool"]
    pad: Pad = Field(default=0,
                     description="n, [vertical, horizontal] or [top, bottom, left, right]")


    count_include_pad: bool = Field(default=True, strict=True, description=(
        "whether padding counts in the number that sums are divided by"))


class GlobalMaxPool(LayerBase):
    """Largest value of each channel."""

    type: Literal["global_max_pool"]


class GlobalAveragePool(LayerBase):
    """Mean of each channel, kept exact as its integer sum."""

    type: Literal["global_average_pool"]


class Add(Join):
    """Sum of two or more tensors of one shape."""

    type: Literal["add"]


class Concat(Join):
    """Channels of the inputs, one input after the other."""

    type: Literal["concat"]


class Flatten(LayerBase):
    """To a vector; channels fastest, then width, then height."""

    type: Literal["flatten"]


class Upsample(LayerBase):
    """Repeat rows and columns (nearest neighbour)."""

    type: Literal["upsample"]
    factor: PerAxis = Field(description="n or [vertical, horizontal]")


class Reshape(LayerBase):
    """The same values in the same order (channels fastest) in another shape."""

    type: Literal["reshape"]
    shape: ShapeList = Field(description="[height, width, channels]")


class Crop(LayerBase):
    """Rows, columns and channels from start up to stop, not included."""

    type: Literal["crop"]
    rows: CodeRange | None = Field(default=None, description="[start, stop]; default: all")
    columns: CodeRange | None = Field(default=None, description="[start, stop]; default: all")
    channels: CodeRange | None = Field(default=None, description="[start, stop]; default: all")


class Select(LayerBase):
    """Channel k of the output is channel indices[k] of the input."""

    type: Literal["select"]
    indices: Ints = Field(description="channels of the input")


class DepthToSpace(LayerBase):
    """Channels to a block of pixels."""

    type: Literal["depth_to_space"]
    block: PositiveInt = Field(description="height and width of a block")
    mode: Literal["dcr", "crd"] = Field(
        default="dcr", description="order of the channels: dcr has the place in the block slowest, "
                                   "crd the channel")


class SpaceToDepth(LayerBase):
    """A block of pixels to channels: row, then column, then channel."""

    type: Literal["space_to_depth"]
    block: PositiveInt = Field(description="height and width of a block")


class PadLayer(LayerBase):
    """Rows and columns around the image."""

    type: Literal["pad"]
    pad: Pad = Field(description="n, [vertical, horizontal] or [top, bottom, left, right]")
    pad_value: Code | None = Field(default=None, description="integer of the padding; default: the "
                                                             "integer that means real 0")


class Subsample(LayerBase):
    """Every n-th row and column, from the first on."""

    type: Literal["subsample"]
    stride: PerAxis = Field(description="n or [vertical, horizontal]")


class ArgMax(LayerBase):
    """Index of the largest channel; the lowest index wins a tie."""

    type: Literal["argmax"]


Layer = Annotated[
    Conv2d | Conv1d | ConvTranspose2d | Dense | BatchNorm | Affine | Bias | Relu | Clamp | LeakyRelu
    | Activation | Quantize | Threshold | Requantize | Lookup | MaxPool | AveragePool
    | GlobalMaxPool | GlobalAveragePool | Add | Concat | Flatten | Reshape | Crop | Select
    | Upsample | DepthToSpace | SpaceToDepth | PadLayer | Subsample | ArgMax,
    Field(discriminator="type")]

LAYER: TypeAdapter[Any] = TypeAdapter(Layer)
LAYER_TYPES: dict[str, type[BaseModel]] = {
    cls.model_fields["type"].annotation.__args__[0]: cls  # type: ignore[union-attr]
    for cls in Layer.__origin__.__args__}  # type: ignore[attr-defined]


class Head(_Strict):
    """What a model description says beside its input and layers."""

    format: Literal["hwgen-model"]
    version: Literal[1]
    name: Title = Field(description="name of the network")
    description: Text | None = Field(default=None, description="free text")
    weights_file: FileName | None = Field(
        default=None, description='file of the arrays that {"npz": key} refers to, beside this '
                                  "file; default: this file's name with .npz")
    output: Identifier | None = Field(default=None,
                                      description="tensor that leaves; default: the last layer")
    output_form: Form | None = Field(default=None, description="what the user's array of the "
                                     "output looks like; default: as the tensor")
    host_tail: tuple[Text, ...] | None = Field(
        default=None, description="operations behind the output that are left to the host")
    labels: tuple[Text, ...] | None = Field(default=None,
                                            description="names of the output's classes")


class Description(Head):
    """A model description, format version 1."""

    input: InputTensor
    layers: tuple[Layer, ...] = Field(min_length=1, description="in order: a layer reads tensors "
                                                                "made before it")
