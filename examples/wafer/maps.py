"""Synthetic wafer maps: images of 224 x 224 pixels like those of a wafer prober.

A map is a disc cut into dies by darker streets. The value of a good die is low and drifts smoothly
over the wafer, that of a failing die is high. Dies fail in one pattern, and here and there.
"""

import numpy as np

__all__ = ["PATTERNS", "SIZE", "wafer_map", "wafer_maps"]

SIZE = 224
PATTERNS = ("center", "donut", "edge_ring", "cluster", "scratch", "half", "scattered")
RADIUS = 0.97  # of the disc; the image is -1 to +1 wide
STREET, GOOD, FAILING = 40, 96, 224  # pixel values; off the wafer it is 0
DRIFT, SPREAD = 24, 10  # largest drift over the wafer, and scatter from die to die


def wafer_map(pattern: str, random: np.random.RandomState) -> np.ndarray:
    """One wafer map, uint8 (224, 224, 1).

    Parameters
    ----------
    pattern
        One of ``PATTERNS``.
    random
        Draws the die grid, the place of the pattern and the failing dies.
    """
    die_height, die_width = random.randint(6, 13, 2)  # with a street of one pixel
    row, column = np.indices((SIZE, SIZE))
    dies = (row // die_height, column // die_width)
    grid = (SIZE // die_height + 1, SIZE // die_width + 1)
    street = (row % die_height == 0) | (column % die_width == 0)
    wafer = np.hypot(_coordinate(row), _coordinate(column)) < RADIUS

    die_row, die_column = np.indices(grid)
    y = _coordinate((die_row + 0.5) * die_height)
    x = _coordinate((die_column + 0.5) * die_width)
    failing = random.random_sample(grid) < np.maximum(_density(pattern, y, x, random), 0.02)
    angle = random.uniform(0, 2 * np.pi)
    value = GOOD + DRIFT * (np.cos(angle) * y + np.sin(angle) * x) \
        + random.uniform(-SPREAD, SPREAD, grid)
    value[failing] += FAILING - GOOD
    image = np.where(street, STREET, np.round(value)[dies])
    return np.where(wafer, image, 0).clip(0, 255).astype(np.uint8)[..., np.newaxis]


def _coordinate(pixel: np.ndarray) -> np.ndarray:
    return (pixel + 0.5) / (SIZE / 2) - 1


def _density(pattern: str, y: np.ndarray, x: np.ndarray,
             random: np.random.RandomState) -> np.ndarray:
    """Probability that a die at (y, x) fails."""
    radius = np.hypot(y, x)
    angle = random.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    across = np.cos(angle) * y - np.sin(angle) * x
    where = {
        "center": radius < random.uniform(0.25, 0.45),
        "donut": np.abs(radius - random.uniform(0.45, 0.6)) < 0.15,
        "edge_ring": radius > random.uniform(0.75, 0.85),
        "cluster": np.hypot(along - random.uniform(0.3, 0.6), across) < 0.3,
        "scratch": (np.abs(across - 0.4 * along**2) < 0.06) & (np.abs(along) < 0.7),
        "half": along > random.uniform(0, 0.3),
        "scattered": radius < 0,
    }[pattern]
    return np.where(where, 0.85, 0.15 if pattern == "scattered" else 0.0)


def wafer_maps(count: int, seed: int) -> np.ndarray:
    """Maps of each pattern in turn, uint8 (count, 224, 224, 1)."""
    # The stream of RandomState is the same in every version of NumPy.
    random = np.random.RandomState(seed)
    return np.stack([wafer_map(PATTERNS[n % len(PATTERNS)], random) for n in range(count)])
