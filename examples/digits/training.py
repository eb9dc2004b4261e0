"""What the training of both digits networks shares: options, images, augmentation, evaluation.

The data are the 1797 images of handwritten digits that ship with scikit-learn (UCI "Optical
Recognition of Handwritten Digits"): 8 x 8 pixels of 0 to 16, clipped to 15 so that a pixel is
UINT4. 360 images, 20 %, are held out by a fixed stratified split; they only measure the network
once it is trained.

Everything is seeded and runs on one thread, so a run repeats exactly on the same machine and
version of PyTorch.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, train_test_split
from torch import Tensor

__all__ = ["CLASSES", "augmented", "cross_validate", "load_split", "print_test_accuracy",
           "round_straight_through", "training_parser", "use_one_thread"]

FOLDER = Path(__file__).resolve().parent
TEST_SIZE = 360  # images held out
SPLIT_SEED = 0
CLASSES = 10
LARGEST_PIXEL = 15


def training_parser(description: str | None, epochs: int) -> argparse.ArgumentParser:
    """The options of both scripts.

    Parameters
    ----------
    description
        Docstring of the script; ``--help`` shows its first line.
    epochs
        Default of ``--epochs``.
    """
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--epochs", type=int, default=epochs,
                        help="passes over the training images")
    parser.add_argument("--batch", type=int, default=64, help="images per step")
    parser.add_argument("--rate", type=float, default=0.02, help="first learning rate of Adam; "
                        "falls to zero along a cosine")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order, augmentation")
    parser.add_argument("--cross-validate", type=int, default=0, metavar="FOLDS",
                        help="only print the accuracy of this many folds of the training images; "
                        "0 trains on all of them and exports")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the exported files")
    return parser


def use_one_thread() -> None:
    """Make a run repeatable; seeds are set by each training."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def load_split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images (frames, 8, 8, 1) uint8 and their labels, then those of the test."""
    digits = load_digits()
    x = np.minimum(digits.images, LARGEST_PIXEL).astype(np.uint8)[..., np.newaxis]
    labels = digits.target.astype(np.uint8)
    train_x, test_x, train_labels, test_labels = train_test_split(
        x, labels, test_size=TEST_SIZE, stratify=labels, random_state=SPLIT_SEED)
    return train_x, train_labels, test_x, test_labels


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned by up to 8 degrees, scaled by up to 8 %, shifted by up to 0.25 pixels."""
    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(len(x), generator=generator) - 1) * limit

    angle, size = torch.deg2rad(uniform(8)), 1 + uniform(0.08)
    cosine, sine = torch.cos(angle) * size, torch.sin(angle) * size
    shift = 0.25 * 2 / x.shape[-1]  # in the coordinates of affine_grid, -1 to +1
    transform = torch.stack([torch.stack([cosine, -sine, uniform(shift)], 1),
                             torch.stack([sine, cosine, uniform(shift)], 1)], 1)
    grid = F.affine_grid(transform, list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, align_corners=False)
    return torch.clamp(torch.round(moved), 0, LARGEST_PIXEL)


def round_straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    """``rounded`` forward, gradient of ``x`` backward."""
    return x + (rounded - x).detach()


def cross_validate(x: np.ndarray, labels: np.ndarray, folds: int,
                   classify: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> None:
    """Print the accuracy of each fold of the training images, and over all.

    ``classify`` trains a network on images and labels, and gives its classes of other images.
    """
    right = []
    splitter = StratifiedKFold(folds, shuffle=True, random_state=SPLIT_SEED)
    for fold, (chosen, rest) in enumerate(splitter.split(x, labels), 1):
        right.append(classify(x[chosen], labels[chosen], x[rest]) == labels[rest])
        print(f"fold {fold} of {folds}: {100 * right[-1].mean():.2f} %", flush=True)
    print(f"validation accuracy: {100 * np.concatenate(right).mean():.2f} % of {len(x)} images")


def print_test_accuracy(classes: np.ndarray, labels: np.ndarray) -> None:
    right = int((classes == labels).sum())
    print(f"test accuracy: {100 * right / len(labels):.2f} % ({right} of {len(labels)} images)")
