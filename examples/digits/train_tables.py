"""Train the digits classifier whose neurons are look-up tables and export it for hwgen.

Same images and split as ``train.py``; of a pixel's four bits the three highest are the input, each
a number of its own. Every hidden neuron reads six bits and gives one, so in hardware it is one LUT6
whatever its weights and threshold are. Every class adds a few of these, some of them negative.
Which ones are read is learned: of a neuron's weights those of largest magnitude count, fewer and
fewer while training goes on, and the gradient reaches all of them (straight-through estimator).

Usage: ``python examples/digits/train_tables.py [--cross-validate 5]``
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training import (
    CLASSES,
    augmented,
    cross_validate,
    load_split,
    print_test_accuracy,
    round_straight_through,
    training_parser,
    use_one_thread,
)

from hwgen.model import save_description

PIXELS = 64
PIXEL_BITS = (1, 2, 3)  # of UINT4
INPUTS = PIXELS * len(PIXEL_BITS)
READ_BITS = 6  # by a neuron
LARGEST_WEIGHT = 3
NARROWING = 0.3  # share of the epochs in which neurons come to read so few
DESCRIPTION = ("Handwritten digits of the UCI data set in scikit-learn, the upper three bits of 64 "
               "pixels, one look-up table for each hidden neuron; trained by "
               "examples/digits/train_tables.py")


@dataclass(frozen=True)
class Options:
    """What is trained, and how; see ``--help``."""

    neurons: int
    votes: int
    epochs: int
    batch: int
    rate: float
    smoothing: float
    seed: int


@dataclass(frozen=True)
class Integers:
    """The trained network: weights (inputs, neurons), levels (neurons,), votes (neurons, classes).
    """

    weights: np.ndarray
    levels: np.ndarray
    votes: np.ndarray

    def classes(self, x: np.ndarray) -> np.ndarray:
        """Classes (frames,) of bits (frames, 192)."""
        hidden = x.astype(np.int64) @ self.weights >= self.levels
        return (hidden.astype(np.int64) @ self.votes).argmax(axis=1)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = training_parser(__doc__, epochs=800)
    parser.add_argument("--neurons", type=int, default=216, help="hidden neurons")
    parser.add_argument("--votes", type=int, default=33, help="hidden neurons that a class reads")
    parser.add_argument("--smoothing", type=float, default=0.1, help="of the labels")
    return parser.parse_args(arguments)


def largest(latent: Tensor, number: int) -> Tensor:
    """1 at the ``number`` entries of each row that are largest in magnitude, else 0."""
    places = latent.abs().topk(number, 1).indices
    return torch.zeros_like(latent).scatter(1, places, 1.0)


class TablesNet(nn.Module):
    """Bits (frames, 192) of pixels to scores (frames, 10)."""

    def __init__(self, options: Options):
        super().__init__()
        self.hidden = nn.Parameter(torch.randn(options.neurons, INPUTS) * 0.3)
        self.classes = nn.Parameter(torch.randn(CLASSES, options.neurons) * 0.3)
        self.norm = nn.BatchNorm1d(options.neurons)
        self.temperature = nn.Parameter(torch.tensor(0.3))
        self.options = options
        self.narrow(1.0)

    def narrow(self, done: float) -> None:
        """Set how many weights count: all at ``done`` 0, few at 1, geometrically between."""
        self.read = round(INPUTS * (READ_BITS / INPUTS) ** done)
        neurons = self.options.neurons
        self.number = round(neurons * (self.options.votes / neurons) ** done)

    def weights(self) -> Tensor:
        """Whole numbers, six of each neuron other than 0."""
        top = self.hidden.abs().max(1, keepdim=True).values
        whole = torch.round(self.hidden / top * LARGEST_WEIGHT)
        whole = torch.where(whole == 0, torch.sign(self.hidden), whole)
        return round_straight_through(self.hidden * LARGEST_WEIGHT,
                                      whole * largest(self.hidden, self.read))

    def votes(self) -> Tensor:
        """-1, 0 and 1."""
        return round_straight_through(self.classes, torch.sign(self.classes)
                                      * largest(self.classes, self.number))

    def forward(self, x: Tensor) -> Tensor:
        sums = self.norm(F.linear(x, self.weights()))
        bits = round_straight_through(torch.clamp(0.5 * sums + 0.5, 0, 1), (sums > 0).to(x.dtype))
        return F.linear(bits, self.votes())

    def integers(self) -> Integers:
        """The same network in integers; falling neurons take the opposite weights."""
        with torch.no_grad():
            weights = self.weights().round().numpy().astype(np.int64)
            votes = self.votes().round().numpy().astype(np.int64)
            norm = self.norm
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            zero = norm.running_mean - norm.bias / gain  # the sum at which a bit changes
            signs = np.where(gain.numpy() < 0, -1, 1)
            levels = np.floor(signs * zero.double().numpy()).astype(np.int64) + 1
        return Integers((weights * signs[:, None]).T, levels, votes.T)


def train(x: np.ndarray, labels: np.ndarray, options: Options) -> Integers:
    """A network trained on images (frames, 8, 8, 1) for a fixed number of epochs."""
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    images = torch.tensor(x, dtype=torch.float32).permute(0, 3, 1, 2)
    classes = torch.tensor(labels, dtype=torch.int64)
    net = TablesNet(options)
    optimizer = torch.optim.Adam(net.parameters(), lr=options.rate)
    steps = options.epochs * -(-len(images) // options.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(options.epochs):
        net.narrow(min(1.0, epoch / (NARROWING * options.epochs)))
        moved = bits_of(augmented(images, generator).flatten(1).long()).float()
        for chosen in torch.randperm(len(images), generator=generator).split(options.batch):
            loss = F.cross_entropy(net(moved[chosen]) * net.temperature, classes[chosen],
                                   label_smoothing=options.smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval().integers()


def bits_of(pixels):
    """Pixels (frames, 64) of 0 to 15 as (frames, 192) bits, those of a pixel side by side."""
    planes = [pixels >> bit & 1 for bit in PIXEL_BITS]
    stack = torch.stack if isinstance(pixels, Tensor) else np.stack
    return stack(planes, -1).reshape(len(pixels), INPUTS)


def inputs_of(x: np.ndarray) -> np.ndarray:
    """What the network takes for images (frames, 8, 8, 1)."""
    return bits_of(x.reshape(len(x), PIXELS))


def export(folder: Path, net: Integers, x: np.ndarray, labels: np.ndarray) -> None:
    """Write tables.json, tables.npz and tables_test.npz."""
    save_description(folder / "tables.json", {
        "format": "hwgen-model", "version": 1, "name": "digits_tables",
        "description": DESCRIPTION, "weights_file": "tables.npz",
        "input": {"name": "x", "shape": [INPUTS], "type": "UINT1"},
        "labels": [str(n) for n in range(CLASSES)],
        "layers": [
            {"name": "hidden", "type": "dense", "weights": net.weights.astype(np.int8),
             "weight_type": "INT3"},
            {"name": "bits", "type": "threshold", "levels": net.levels[:, None],
             "output_type": "UINT1"},
            {"name": "scores", "type": "dense", "weights": net.votes.astype(np.int8),
             "weight_type": "TERNARY"},
            {"name": "digit", "type": "argmax"}]}, {})
    np.savez_compressed(folder / "tables_test.npz", x=x, labels=labels)


def main(arguments: list[str] | None = None) -> int:
    given = parse_arguments(arguments)
    options = Options(given.neurons, given.votes, given.epochs, given.batch, given.rate,
                      given.smoothing, given.seed)
    use_one_thread()
    train_x, train_labels, test_x, test_labels = load_split()
    if given.cross_validate:
        cross_validate(train_x, train_labels, given.cross_validate, lambda x, labels, others:
                       train(x, labels, options).classes(inputs_of(others)))
        return 0
    net = train(train_x, train_labels, options)
    export(given.output, net, inputs_of(test_x), test_labels)
    print_test_accuracy(net.classes(inputs_of(test_x)), test_labels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
