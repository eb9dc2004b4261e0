"""Kinds of activation units: the config class of each operation that has one."""

from ..ops import Bias, Clip, Op, Requantize, Table, Threshold
from ..types import NumType
from .activation import Activation
from .bias import BiasActivation
from .requantize import ShiftActivation
from .table import TableActivation
from .threshold import ThresholdActivation

__all__ = ["activation_of", "activation_ops"]

KINDS: dict[type[Op], type[Activation]] = {
    Bias: BiasActivation,
    Clip: ShiftActivation,
    Requantize: ShiftActivation,
    Table: TableActivation,
    Threshold: ThresholdActivation,
}

activation_ops = tuple(KINDS)


def activation_of(op: Op, in_type: NumType, out_type: NumType, channels: int, lanes: int
                  ) -> Activation:
    """The config that suits an operation."""
    return KINDS[type(op)](op, in_type, out_type, channels, lanes)
