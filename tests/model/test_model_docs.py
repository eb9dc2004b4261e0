"""The examples of docs/model-format.md are models that load."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hwgen.model import Model, load_model
from hwgen.model.description import LAYER_TYPES
from hwgen.model.schema import schema_text

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "model-format.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"^`x`: (\[.*?\]) (\w+) → (\[.*?\]) (\w+)\n\n```json\n(.*?)```$",
                     re.MULTILINE | re.DOTALL)
EXAMPLES = [match.groups() for match in EXAMPLE.finditer(TEXT)]
BLOCKS = re.findall(r"^```json\n(.*?)```$", TEXT, re.MULTILINE | re.DOTALL)


def layers_of(text):
    value = json.loads(text)
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: layers_of(e[4])[0]["name"])
def test_example_loads_with_the_shape_and_type_it_states(example):
    in_shape, in_type, out_shape, out_type, text = example
    model = Model.from_parts(
        {"format": "hwgen-model", "version": 1, "name": "example",
         "input": {"name": "x", "shape": json.loads(in_shape), "type": in_type},
         "layers": layers_of(text)}, {}, "model-format.md")
    graph = model.to_graph()
    output = graph.tensor(graph.output)
    shape = json.loads(out_shape)
    assert output.shape == (1,) * (3 - len(shape)) + tuple(shape)
    assert output.dtype.name == out_type
    rng = np.random.default_rng(1)
    given = graph.input_tensor
    y = graph.run(rng.integers(given.dtype.low, given.dtype.high + 1, (2, *given.shape)))
    assert y.shape == (2, *output.shape)
    assert output.dtype.contains(y).all()


def test_every_layer_type_has_an_example_under_its_heading():
    for name in LAYER_TYPES:
        section = TEXT.split(f"\n### {name}\n")[1].split("\n## ")[0].split("\n### ")[0]
        types = [layer["type"] for *_, text in EXAMPLE.findall(section)
                 for layer in layers_of(text)]
        assert name in types, name


def test_every_field_of_every_layer_is_documented():
    common = {"name", "type", "input", "inputs", "weights", "weight_type", "weight_scale", "bias"}
    for name, cls in LAYER_TYPES.items():
        section = TEXT.split(f"\n### {name}\n")[1].split("\n## ")[0].split("\n### ")[0]
        for field in set(cls.model_fields) - common:
            assert re.search(rf"`{field}`|\"{field}\"", section), f"{name}.{field}"


def test_no_json_block_is_left_untried():
    assert len(BLOCKS) == len(EXAMPLES) + 1


def test_complete_example_loads_from_a_file(tmp_path):
    (tmp_path / "tiny.json").write_text(BLOCKS[0], encoding="utf-8")
    model = load_model(tmp_path / "tiny.json")
    assert model.name == "tiny"
    assert model.labels == ("cat", "dog")
    assert model.to_graph().run(np.zeros((1, 4, 4, 1), dtype=int)).shape == (1, 1, 1, 2)


def test_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"^```python\n(.*?)```$", TEXT, re.MULTILINE | re.DOTALL)[0]
    names = {"weights": np.array([[1], [-2]]), "x": np.array([[[[3, 4]]]])}
    exec(code, names)
    assert names["y"].tolist() == [[[[-5]]]]


def test_rounding_table_is_what_the_rounding_does():
    from fractions import Fraction

    from hwgen.ops import round_fraction
    rows = re.findall(r"^\| `(half_\w+)` \| (-?\d) \| (-?\d) \| (-?\d) \| (-?\d) \|", TEXT,
                      re.MULTILINE)
    assert len(rows) == 5
    for mode, *cells in rows:
        halves = [Fraction(n, 2) for n in (-3, -1, 1, 3)]
        assert [round_fraction(h, mode) for h in halves] == [int(c) for c in cells], mode


def test_published_schema_is_what_the_code_generates():
    published = (DOCS / "model.schema.json").read_text(encoding="utf-8")
    assert published == schema_text(), "run python -m hwgen.model.schema"
