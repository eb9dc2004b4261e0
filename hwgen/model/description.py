"""The model description, format version 1: every field of the file, validated on its own.

Classes are immutable pydantic models, one per layer type, joined by their ``type``. What depends
on other layers (shapes, types, names) is checked in :mod:`hwgen.model.to_graph`; what only depends
on the layer itself is said by :meth:`LayerBase.problems`.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationInfo, field_validator

from ..types import NumType
from .fields import (
    Code,
    FileName,
    Identifier,
    IntArray,
    Ints,
    Levels,
    Number,
    NumberList,
    Numbers,
    Pad,
    PadLine,
    PerAxis,
    PositiveInt,
    PositiveNumber,
    RoundingMode,
    SamePad,
    ShapeList,
    Text,
    Title,
    ValueType,
)

__all__ = ["LAYER", "LAYER_TYPES", "Description", "Head", "InputTensor", "Join", "Layer",
           "LayerBase"]

ACCUMULATOR_WIDTH = 48
MULTIPLIER_WIDTH = 32
MAX_SHIFT = 62


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class InputTensor(_Strict):
    """The tensor that enters the network: real value = scale * (integer - zero_point)."""

    name: Identifier = Field(description="name of the tensor; layers read it by this name")
    shape: ShapeList = Field(
        description="[height, width, channels], [length, channels] or [channels]")
    type: ValueType = Field(description="BIPOLAR, TERNARY, INT2 to INT16 or UINT1 to UINT16")
    scale: PositiveNumber = Field(default=1, validate_default=True,
                                  description="real value of one step of the integer")
    zero_point: Code = Field(default=0, description="the integer that means real 0")


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
        description="BIPOLAR, TERNARY, INT2 to INT16 or UINT1 to UINT16")
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
    scale: PositiveNumber = Field(description="real value of one step of the output")
    zero_point: Code = Field(default=0, description="the output that means real 0")
    rounding: RoundingMode = Field(default="half_even", description="how to round")

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.output_type.bipolar and self.zero_point:
            yield "zero_point", ("must be 0 for BIPOLAR, which is +1 where the real value is at "
                                 f"least 0, found {self.zero_point}")


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
    rounding: RoundingMode = Field(default="half_up", description="how to round")
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


class _Pool(LayerBase):
    kernel: PerAxis = Field(description="n or [vertical, horizontal]")
    stride: PerAxis | None = Field(default=None,
                                   description="n or [vertical, horizontal]; default: the kernel")


class MaxPool(_Pool):
    """Largest value in each window; padding takes no part."""

    type: Literal["max_pool"]
    pad: SamePad = Field(default=0, description='n, [vertical, horizontal], [top, bottom, left, '
                                                'right] or "same" (as TensorFlow\'s SAME)')


class AveragePool(_Pool):
    """Mean of each window, kept exact as its integer sum; padding counts as 0."""

    type: Literal["average_pool"]
    pad: Pad = Field(default=0,
                     description="n, [vertical, horizontal] or [top, bottom, left, right]")


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


class ArgMax(LayerBase):
    """Index of the largest channel; the lowest index wins a tie."""

    type: Literal["argmax"]


Layer = Annotated[
    Conv2d | Conv1d | Dense | BatchNorm | Bias | Relu | Clamp | Quantize | Threshold | Requantize
    | MaxPool | AveragePool | GlobalMaxPool | GlobalAveragePool | Add | Concat | Flatten | Upsample
    | ArgMax, Field(discriminator="type")]

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
    labels: tuple[Text, ...] | None = Field(default=None,
                                            description="names of the output's classes")


class Description(Head):
    """A model description, format version 1."""

    input: InputTensor
    layers: tuple[Layer, ...] = Field(min_length=1, description="in order: a layer reads tensors "
                                                                "made before it")
