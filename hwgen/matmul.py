"""Matrix products of whole numbers held as floats."""

import numpy as np

__all__ = ["exact_matmul"]


def exact_matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a @ b`` of finite whole numbers, exact while every partial sum is below 2**24 in float32,
    2**53 in float64.

    BLAS may compute with what happens to lie beside a matrix and drop the result; if that is no
    number, NumPy warns of an invalid value (numpy/numpy#24067). There is none here.
    """
    with np.errstate(invalid="ignore"):
        return a @ b
