"""Reading and writing model files."""

import json
import time

import numpy as np
import pytest
from model_networks import ARRAYS, base, write

from hwgen.errors import ModelError
from hwgen.model import Model, load_model, save_description


def rich():
    """A description with each form of value."""
    description = base()
    description.update(description="é", labels=list("abcdef"))
    description["input"].update(scale="1/3", zero_point=2)
    description["layers"][0].update(pad=[1, 2, 1, 0], stride=[1, 2], weight_scale=0.1,
                                    pad_value=3)
    description["layers"][1]["beta"] = ["1/3", 0.1, -2, 1e-20]
    description["layers"].insert(2, {"name": "wide", "type": "threshold", "output_type": "UINT8",
                                     "levels": [[n / 8 for n in range(40)]] * 4, "scale": "1/7"})
    description["layers"][4]["pad"] = "same"
    description["layers"].append({"name": "more", "type": "requantize", "output_type": "INT8",
                                  "multiplier": [3, 4, 5], "shift": 2})
    description["layers"].append({"name": "both", "type": "concat", "inputs": ["fc", "more"]})
    return description


def test_saved_model_loads_as_an_equal_model(tmp_path):
    model = Model.from_parts(rich(), ARRAYS | {"w2": ARRAYS["w2"][:40]})
    model.save(tmp_path / "new" / "folder")
    loaded = load_model(tmp_path / "new" / "folder" / "model.json")
    assert loaded == model
    assert hash(loaded) == hash(model)
    assert str(loaded.to_graph()) == str(model.to_graph())
    assert loaded.to_graph().tensors() == model.to_graph().tensors()
    x = np.random.default_rng(3).integers(0, 16, (2, 8, 8, 2))
    np.testing.assert_array_equal(loaded.to_graph().run(x), model.to_graph().run(x))


@pytest.mark.parametrize("change", [
    lambda d: d.update(name="other"),
    lambda d: d.update(description="other"),
    lambda d: d["input"].update(scale=0.5),
    lambda d: d["layers"][0].update(bias=[1, 2, 3, 5]),
    lambda d: d["layers"][1].update(epsilon=0),
    lambda d: d["layers"][2].update(rounding="floor"),
])
def test_models_that_say_something_else_are_unequal(change):
    description = base()
    change(description)
    assert Model.from_parts(description, ARRAYS) != Model.from_parts(base(), ARRAYS)


def test_changed_weight_makes_models_unequal():
    other = ARRAYS["w1"].copy()
    other[0, 0, 0, 0] += 1
    assert Model.from_parts(base(), ARRAYS | {"w1": other}) != Model.from_parts(base(), ARRAYS)


def test_defaults_written_out_make_an_equal_model():
    description = base()
    description.update(output="fc", description=None)
    description["layers"][0].update(input="x", stride=1, weight_scale=[1.0], groups=1)
    description["layers"][2].update(rounding="half_even", zero_point=0, input="norm1")
    assert Model.from_parts(description, ARRAYS) == Model.from_parts(base(), ARRAYS)


def test_inline_arrays_equal_those_of_the_weights_file(tmp_path):
    description = base()
    description["layers"][0]["weights"] = ARRAYS["w1"].tolist()
    description["layers"][5]["weights"] = ARRAYS["w2"].tolist()
    path = write(tmp_path, description, arrays=None)
    assert load_model(path) == Model.from_parts(base(), ARRAYS)


def test_model_does_not_change_with_the_arrays_that_it_was_made_of():
    weights = ARRAYS["w1"].copy()
    model = Model.from_parts(base(), ARRAYS | {"w1": weights})
    weights[:] = 0
    assert model == Model.from_parts(base(), ARRAYS)
    with pytest.raises(ValueError, match="read-only"):
        model.to_graph().nodes[0].op.weights[:] = 0


def test_save_description_writes_what_it_was_given(tmp_path):
    description = base()
    description["layers"][0]["bias"] = np.array([1, 2, 3, 4])
    description["layers"][1]["gamma"] = np.array([0.1, 0.2, 0.3, 0.4])
    model = save_description(tmp_path / "deep" / "net.json", description, ARRAYS)
    assert load_model(tmp_path / "deep" / "net.json") == model
    with np.load(tmp_path / "deep" / "net.npz") as stored:
        assert sorted(stored.files) == ["conv1.bias", "norm1.gamma", "w1", "w2"]
    written = json.loads((tmp_path / "deep" / "net.json").read_text(encoding="utf-8"))
    assert written["layers"][2] == description["layers"][2]


def test_save_description_uses_the_weights_file_that_is_named(tmp_path):
    save_description(tmp_path / "net.json", base() | {"weights_file": "w.npz"}, ARRAYS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.json", "w.npz"]
    assert load_model(tmp_path / "net.json").name == "net"


def test_save_description_writes_nothing_that_is_broken(tmp_path):
    description = base()
    description["layers"][0]["stride"] = 0
    with pytest.raises(ModelError, match="^net.json: conv1.stride: must be a positive integer"):
        save_description(tmp_path / "net.json", description, ARRAYS)
    assert list(tmp_path.iterdir()) == []


def test_model_without_arrays_has_no_weights_file(tmp_path):
    description = base()
    description["layers"] = [{"name": "pool", "type": "global_max_pool"}]
    Model.from_parts(description, {}).save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.json"]
    assert load_model(tmp_path / "model.json") == Model.from_parts(description, {})


def test_millions_of_weights_load_within_a_second(tmp_path):
    description = base()
    description["input"]["shape"] = [2048]
    description["layers"] = [{"name": "fc", "type": "dense", "weight_type": "INT8",
                              "weights": {"npz": "w"}, "weight_scale": {"npz": "s"}}]
    path = write(tmp_path, description, {"w": np.ones((2048, 1000), dtype=np.int8),
                                         "s": np.full(1000, 0.1)})
    start = time.process_time()
    model = load_model(path)
    assert time.process_time() - start < 1  # measured 0.1
    assert model.to_graph().tensor("fc").dtype.name == "UINT15"
