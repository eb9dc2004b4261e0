import numpy as np
import pytest

from hwgen.matmul import exact_matmul


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_products_of_whole_numbers_are_exact(kind):
    rng = np.random.default_rng(0)
    a, b = rng.integers(-128, 128, (40, 300)), rng.integers(-8, 8, (300, 70))
    np.testing.assert_array_equal(exact_matmul(a.astype(kind), b.astype(kind)), a @ b)


class Noticed:
    """A matrix whose products make the processor notice an invalid value, as BLAS may do for what
    lies beside a matrix; warnings are errors here."""

    def __matmul__(self, other):
        return np.multiply(np.inf, 0.0)


def test_an_invalid_value_that_the_processor_notices_is_no_warning():
    with pytest.raises(RuntimeWarning, match="invalid value"):
        Noticed() @ None
    exact_matmul(Noticed(), None)
