"""Train the digits classifier with quantization in the loop and export it for hwgen.

The data are the 1797 images of handwritten digits that ship with scikit-learn (UCI "Optical
Recognition of Handwritten Digits"): 8 x 8 pixels of 0 to 16, clipped to 15 so that a pixel is
UINT4. 360 images, 20 %, are held out by a fixed stratified split; they only measure the network
once it is trained. The defaults of the options were chosen by ``--cross-validate`` within the other
1437 images.

Weights are ternary or binary and activations unsigned codes of a few bits; both are rounded in
the forward pass, and the gradient passes the rounding unchanged (straight-through estimator).
Everything is seeded and runs on one thread, so a run repeats exactly on the same machine and
version of PyTorch.

Usage: ``python examples/digits/train.py [--cross-validate 5]``
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from export import Activation, TrainedLayer, export, integer_scores
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, train_test_split
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parent
TEST_SIZE = 360  # images held out
SPLIT_SEED = 0
CLASSES = 10
LARGEST_PIXEL = 15
LABEL_SMOOTHING = 0.1


@dataclass(frozen=True)
class Options:
    """What is trained, and how; see ``--help``."""

    channels1: int
    channels2: int
    bits: int
    weights: tuple[str, str, str]
    epochs: int
    batch: int
    rate: float
    seed: int


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    kinds = ("ternary", "binary")
    parser.add_argument("--channels1", type=int, default=16, help="channels of conv1")
    parser.add_argument("--channels2", type=int, default=32, help="channels of conv2")
    parser.add_argument("--bits", type=int, default=2, choices=(1, 2, 3, 4),
                        help="bits of an activation")
    parser.add_argument("--weights", nargs=3, choices=kinds,
                        default=["ternary", "binary", "ternary"],
                        metavar=("CONV1", "CONV2", "FC"),
                        help="kind of weights of each layer, ternary or binary")
    parser.add_argument("--epochs", type=int, default=300, help="passes over the training images")
    parser.add_argument("--batch", type=int, default=64, help="images per step")
    parser.add_argument("--rate", type=float, default=0.02, help="first learning rate of Adam; "
                        "falls to zero along a cosine")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order, augmentation")
    parser.add_argument("--cross-validate", type=int, default=0, metavar="FOLDS",
                        help="only print the accuracy of this many folds of the training images; "
                        "0 trains on all of them and exports")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the exported files")
    return parser.parse_args(arguments)


def round_straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    """``rounded`` forward, gradient of ``x`` backward."""
    return x + (rounded - x).detach()


def quantized_weights(latent: Tensor, kind: str) -> Tensor:
    """Latent real weights as -1, (0,) +1.

    A ternary weight is zero below 0.7 times the mean magnitude of its layer, the threshold that
    approximates normally distributed weights best.
    """
    magnitude = latent.abs()
    keep = magnitude >= (0.7 * magnitude.mean() if kind == "ternary" else 0)
    signs = torch.where(latent >= 0, 1.0, -1.0).to(latent.dtype)
    return round_straight_through(latent, signs * keep)


class QuantizedActivation(nn.Module):
    """Batch normalization, then ``scale`` times an unsigned code: round half to even and clip.

    The clip at zero is the ReLU. The scale is a power of two, so floats stay exact.
    """

    def __init__(self, channels: int, bits: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.largest = 2**bits - 1
        self.scale = 2.0 ** (1 - bits)  # codes of 1 bit are 0, 1; of 2 bits 0, 0.5, 1, 1.5

    def forward(self, x: Tensor) -> Tensor:
        x = torch.clamp(self.norm(x) / self.scale, 0, self.largest)
        return self.scale * round_straight_through(x, torch.round(x))


class DigitsNet(nn.Module):
    """conv 3x3, pool, conv 3x3, pool, dense.

    Takes pixels (frames, 1, 8, 8) and gives scores (frames, 10), each an integer, the accumulator
    in hardware, times the scale of the last activation.
    """

    def __init__(self, options: Options):
        super().__init__()
        c1, c2 = options.channels1, options.channels2
        self.kinds = options.weights
        self.conv1 = nn.Parameter(torch.empty(c1, 1, 3, 3))
        self.conv2 = nn.Parameter(torch.empty(c2, c1, 3, 3))
        self.fc = nn.Parameter(torch.empty(CLASSES, 4 * c2))
        for weights in (self.conv1, self.conv2, self.fc):
            nn.init.uniform_(weights, -0.3, 0.3)  # small enough for a few steps to flip a sign
        self.act1 = QuantizedActivation(c1, options.bits)
        self.act2 = QuantizedActivation(c2, options.bits)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, quantized_weights(self.conv1, self.kinds[0]), padding=1)
        x = F.max_pool2d(self.act1(x), 2)
        x = F.conv2d(x, quantized_weights(self.conv2, self.kinds[1]), padding=1)
        x = F.max_pool2d(self.act2(x), 2)
        x = x.permute(0, 2, 3, 1).flatten(1)  # channel fastest, as hwgen flattens
        return F.linear(x, quantized_weights(self.fc, self.kinds[2]))

    def clip_latent_weights(self) -> None:
        """Keep latent weights within -1 to +1, where a gradient can still flip them."""
        with torch.no_grad():
            for weights in (self.conv1, self.conv2, self.fc):
                weights.clamp_(-1, 1)


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


def train(x: np.ndarray, labels: np.ndarray, options: Options, verbose: bool) -> DigitsNet:
    """A network trained on images (frames, 8, 8, 1) for a fixed number of epochs."""
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    images = torch.tensor(x, dtype=torch.float32).permute(0, 3, 1, 2)
    classes = torch.tensor(labels, dtype=torch.int64)
    net = DigitsNet(options)
    temperature = torch.tensor(0.1, requires_grad=True)  # of the softmax; scores reach dozens
    optimizer = torch.optim.Adam([{"params": net.parameters()},
                                  {"params": [temperature], "lr": 0.001}], lr=options.rate)
    steps = options.epochs * -(-len(images) // options.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    start = time.monotonic()
    for epoch in range(1, options.epochs + 1):
        total = correct = 0.0
        moved = augmented(images, generator)
        for chosen in torch.randperm(len(images), generator=generator).split(options.batch):
            scores = net(moved[chosen])
            loss = F.cross_entropy(scores * temperature, classes[chosen],
                                   label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            net.clip_latent_weights()
            total += loss.item() * len(chosen)
            correct += (scores.argmax(1) == classes[chosen]).sum().item()
        if verbose and (epoch % 20 == 0 or epoch == options.epochs):
            print(f"epoch {epoch:4d} of {options.epochs}: loss {total / len(images):.4f}, "
                  f"augmented training images {100 * correct / len(images):6.2f} %, "
                  f"{time.monotonic() - start:.0f} s", flush=True)
    return net.double().eval()  # the same weights and normalization; sums in float64 are exact


def scores_of(net: DigitsNet, x: np.ndarray) -> np.ndarray:
    """Scores (frames, 10) of images (frames, 8, 8, 1) by a trained network."""
    with torch.no_grad():
        return net(torch.tensor(x, dtype=torch.float64).permute(0, 3, 1, 2)).numpy()


def trained_layers(net: DigitsNet) -> list[TrainedLayer]:
    """What the exporter needs, in the order of the network, with hwgen's axes."""
    layers = []
    for name, kind in zip(("conv1", "conv2", "fc"), net.kinds):
        latent = getattr(net, name)
        weights = quantized_weights(latent, kind).detach().numpy().round().astype(np.int8)
        weights = weights.T if weights.ndim == 2 else weights.transpose(2, 3, 1, 0)
        activation = getattr(net, f"act{name[-1]}", None)
        if activation is None:
            layers.append(TrainedLayer(name, kind, weights))
            continue
        norm = activation.norm
        gamma, beta, mean, variance = (
            values.detach().numpy().astype(np.float32)  # as trained, so exact
            for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var))
        layers.append(TrainedLayer(name, kind, weights, Activation(
            gamma, beta, mean, variance, norm.eps, activation.largest.bit_length(),
            activation.scale)))
    return layers


def load_split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training and test images (frames, 8, 8, 1) uint8, and their labels."""
    digits = load_digits()
    x = np.minimum(digits.images, LARGEST_PIXEL).astype(np.uint8)[..., np.newaxis]
    labels = digits.target.astype(np.uint8)
    train_x, test_x, train_labels, test_labels = train_test_split(
        x, labels, test_size=TEST_SIZE, stratify=labels, random_state=SPLIT_SEED)
    return train_x, train_labels, test_x, test_labels


def cross_validate(x: np.ndarray, labels: np.ndarray, options: Options, folds: int) -> None:
    """Print the accuracy of each fold of the training images, and over all."""
    right = []
    splitter = StratifiedKFold(folds, shuffle=True, random_state=SPLIT_SEED)
    for fold, (chosen, rest) in enumerate(splitter.split(x, labels), 1):
        net = train(x[chosen], labels[chosen], options, verbose=False)
        right.append(scores_of(net, x[rest]).argmax(1) == labels[rest])
        print(f"fold {fold} of {folds}: {100 * right[-1].mean():.2f} %", flush=True)
    print(f"validation accuracy: {100 * np.concatenate(right).mean():.2f} % of {len(x)} images")


def main(arguments: list[str] | None = None) -> int:
    given = parse_arguments(arguments)
    options = Options(given.channels1, given.channels2, given.bits, tuple(given.weights),
                      given.epochs, given.batch, given.rate, given.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    train_x, train_labels, test_x, test_labels = load_split()
    if given.cross_validate:
        cross_validate(train_x, train_labels, options, given.cross_validate)
        return 0
    net = train(train_x, train_labels, options, verbose=True)
    layers = trained_layers(net)
    scores = scores_of(net, test_x)
    if not np.array_equal(integer_scores(layers, test_x) * net.act2.scale, scores):
        print("error: the exported integers differ from the trained network", file=sys.stderr)
        return 1
    export(given.output, layers, test_x, test_labels)
    right = int((scores.argmax(1) == test_labels).sum())
    print(f"test accuracy: {100 * right / len(test_x):.2f} % ({right} of {len(test_x)} images)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
