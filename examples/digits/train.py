"""Train the digits classifier with quantization in the loop and export it for hwgen.

The images, and how some of them are held out: ``training.py``. The defaults of the options were
chosen by ``--cross-validate`` within the images that are not.

Weights are ternary or binary and activations unsigned codes of a few bits; both are rounded in
the forward pass, and the gradient passes the rounding unchanged (straight-through estimator).

Usage: ``python examples/digits/train.py [--cross-validate 5]``
"""

import argparse
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from export import Activation, TrainedLayer, export, integer_scores
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
    parser = training_parser(__doc__, epochs=300)
    kinds = ("ternary", "binary")
    parser.add_argument("--channels1", type=int, default=16, help="channels of conv1")
    parser.add_argument("--channels2", type=int, default=32, help="channels of conv2")
    parser.add_argument("--bits", type=int, default=2, choices=(1, 2, 3, 4),
                        help="bits of an activation")
    parser.add_argument("--weights", nargs=3, choices=kinds,
                        default=["ternary", "binary", "ternary"],
                        metavar=("CONV1", "CONV2", "FC"),
                        help="kind of weights of each layer, ternary or binary")
    return parser.parse_args(arguments)


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


def main(arguments: list[str] | None = None) -> int:
    given = parse_arguments(arguments)
    options = Options(given.channels1, given.channels2, given.bits, tuple(given.weights),
                      given.epochs, given.batch, given.rate, given.seed)
    use_one_thread()
    train_x, train_labels, test_x, test_labels = load_split()
    if given.cross_validate:
        cross_validate(train_x, train_labels, given.cross_validate, lambda x, labels, others:
                       scores_of(train(x, labels, options, verbose=False), others).argmax(1))
        return 0
    net = train(train_x, train_labels, options, verbose=True)
    layers = trained_layers(net)
    scores = scores_of(net, test_x)
    if not np.array_equal(integer_scores(layers, test_x) * net.act2.scale, scores):
        print("error: the exported integers differ from the trained network", file=sys.stderr)
        return 1
    export(given.output, layers, test_x, test_labels)
    print_test_accuracy(scores.argmax(1), test_labels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
