"""Sums of a layer's weights, which every option of the layer needs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..arith.phased_product import PhasedPlan

__all__ = ["WeightSums"]


@dataclass(frozen=True, eq=False)
class WeightSums:
    """What a layer's options have in common, whatever the order of its inputs.

    Parameters
    ----------
    weights
        (groups, inputs, neurons) integers.
    """

    weights: np.ndarray

    @cached_property
    def extremes(self) -> tuple[int, int]:
        """Smallest and largest weight."""
        return int(self.weights.min()), int(self.weights.max())

    @cached_property
    def total(self) -> np.ndarray:
        """(groups, neurons) sums of all weights."""
        return self.weights.sum(axis=1, dtype=np.int64)

    @cached_property
    def positive(self) -> np.ndarray:
        """(groups, neurons) sums of those above 0."""
        return np.maximum(self.weights, 0).sum(axis=1, dtype=np.int64)

    @cached_property
    def negatives(self) -> np.ndarray:
        """(groups, neurons) numbers of those below 0."""
        return np.count_nonzero(self.weights < 0, axis=1)

    @cached_property
    def negative_digits(self) -> np.ndarray:
        """(groups, neurons) sums of what digits below 0 take off."""
        return PhasedPlan.offsets_of(self.weights, 1).sum(axis=1)
