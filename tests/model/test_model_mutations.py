"""Descriptions broken at random load or are refused; nothing else happens."""

import copy
import json
import random

from model_networks import ARRAYS, base

from hwgen.errors import ModelError
from hwgen.model import Model

VALUES = [0, 1, -1, 3, 1 << 70, 0.5, 1e300, float("nan"), "x", "", "same", "1/3", "1e999",
          "BIPOLAR", "INT16", "conv1", "a\nb", None, True, [], [1], [1, 2], [1, 2, 3, 4],
          [[1, 2], [3]], [[[[1]]]], [[]], [None], [True, 1], ["x", "x"], {}, {"npz": "w1"},
          {"npz": 3}]
KEYS = ["scale", "pad", "input", "inputs", "bias", "groups", "weight_scale", "stride", "pad_value",
        "output", "labels", "weights_file", "max", "zero_point", "unknown\nfield"]


def places(value, place=()):
    if place:
        yield place
    entries = value.items() if isinstance(value, dict) else \
        enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from places(entry, (*place, key))


def mutate(description, rng):
    for _ in range(rng.choice([1, 1, 2, 3])):
        *path, key = rng.choice(list(places(description)))
        owner = description
        for step in path:
            owner = owner[step]
        choice = rng.random()
        if choice < 0.6:
            owner[key] = copy.deepcopy(rng.choice(VALUES))
        elif choice < 0.8 or isinstance(owner, list):
            del owner[key]
        else:
            owner[rng.choice(KEYS)] = copy.deepcopy(rng.choice(VALUES))


def test_mutated_description_loads_or_gives_lines_with_the_file_name():
    rng = random.Random(2)
    loaded, refused = 0, []
    for _ in range(800):
        description = base()
        mutate(description, rng)
        try:
            model = Model.from_parts(description, ARRAYS, "net.json")
        except ModelError as error:
            refused.append(error.problems)
        else:
            loaded += 1
            parts, arrays = model.parts()
            assert Model.from_parts(json.loads(json.dumps(parts)), arrays) == model
    assert loaded > 20
    assert len(refused) > 500
    for problems in refused:
        assert problems
        for line in problems:
            assert line.startswith("net.json: "), line
            assert len(line.splitlines()) == 1, line
