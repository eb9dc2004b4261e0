"""ONNX files on the command line, and accuracy against labels."""

import json

import numpy as np
import onnx
import pytest

from hwgen.model import load_model
from hwgen.onnx_import import import_onnx
from tests.onnx_import.onnx_files import Net

HOST = {"input": ["quantize to INT4, scale 0.25"], "output": ["Softmax"]}
HOST_LINES = ["input, on the host: quantize to INT4, scale 0.25", "left to the host: Softmax"]
ACCURACY = "top-1 accuracy 66.67%, 4 of 6 frames"  # the labels of two frames of six are wrong


def refused(done, line, status=1):
    """This exit status, one line, and no result."""
    assert done.errors == [f"hwgen: error: {line}"]
    assert done.out == ""
    assert done.status == status
    return True


def test_an_import_writes_the_description_and_its_arrays(hwgen, onnx_network, tmp_path):
    done = hwgen("import", onnx_network.file, "-o", tmp_path / "my.json")
    assert (done.status, done.errors) == (0, [
        f"hwgen: the description is in {tmp_path / 'my.json'}"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my.json", "my.npz"]
    assert load_model(tmp_path / "my.json") == import_onnx(onnx_network.file)


def test_an_import_has_the_files_name_unless_given_another(hwgen, onnx_network, tmp_path,
                                                           monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hwgen("import", onnx_network.file).status == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.json", "net.npz"]


def test_import_and_check_print_the_layers_and_what_is_left_to_the_host(hwgen, onnx_network,
                                                                        tmp_path):
    imported = hwgen("import", onnx_network.file, "-o", tmp_path / "net.json")
    title, _, first, *_, total, quantizer, tail = imported.out.splitlines()
    assert title == "net"
    assert first.split()[1:] == ["Conv", "1", "x", "1", "x", "8", "INT11", "INT4", "144", "576",
                                 "144"]
    assert total.split() == ["total", "168", "672", "168"]
    assert [quantizer, tail] == HOST_LINES
    for file in (onnx_network.file, tmp_path / "net.json"):
        checked = hwgen("check", file)
        assert (checked.status, checked.out, checked.err) == (0, imported.out, "")


def test_a_network_that_leaves_nothing_to_the_host_does_not_mention_it(hwgen, model):
    assert "host" not in hwgen("check", model).out


def test_an_import_can_be_printed_as_json(hwgen, onnx_network, tmp_path):
    done = hwgen("import", onnx_network.file, "-o", tmp_path / "net.json", "--json")
    assert json.loads(done.out) == json.loads(hwgen("check", onnx_network.file, "--json").out)


def test_the_golden_model_takes_and_gives_the_files_own_arrays(hwgen, onnx_network, tmp_path):
    hwgen("import", onnx_network.file, "-o", tmp_path / "net.json")
    for file in (onnx_network.file, tmp_path / "net.json"):
        done = hwgen("golden", file, "--input", onnx_network.frames, "--output", tmp_path / "y.npy")
        assert (done.status, done.out, done.err) == (0, "", "")
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), onnx_network.scores)


def test_raw_input_is_the_integers_that_the_host_makes(hwgen, onnx_network, tmp_path):
    frames = np.load(onnx_network.frames)
    np.save(tmp_path / "codes.npy", np.clip(np.rint(frames / 0.25), -8, 7).astype(int))
    assert hwgen("golden", onnx_network.file, "--raw", "--input", tmp_path / "codes.npy",
                 "--output", tmp_path / "y.npy").status == 0
    raw = np.load(tmp_path / "y.npy")
    np.testing.assert_array_equal(raw * 2, onnx_network.scores)  # steps of 4 * 0.5


def test_golden_prints_the_accuracy(hwgen, onnx_network, tmp_path):
    done = hwgen("golden", onnx_network.file, "--input", onnx_network.frames, "--output",
                 tmp_path / "y.npy", "--labels", onnx_network.labels)
    assert (done.status, done.out, done.err) == (0, ACCURACY + "\n", "")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), onnx_network.scores)


def test_a_build_holds_the_imported_description(built_onnx, onnx_network):
    assert load_model(built_onnx / "model" / "model.json") == import_onnx(onnx_network.file)


def test_the_report_says_what_the_host_does(hwgen, built_onnx):
    assert json.loads((built_onnx / "report.json").read_text())["host"] == HOST
    lines = hwgen("report", built_onnx).out.splitlines()
    assert lines[lines.index(HOST_LINES[0]):][:2] == HOST_LINES


def test_simulation_gives_the_files_own_arrays_and_the_accuracy(hwgen, built_onnx, onnx_network,
                                                                tmp_path):
    done = hwgen("simulate", built_onnx, "--input", onnx_network.frames, "--output",
                 tmp_path / "y.npy", "--labels", onnx_network.labels)
    assert (done.status, done.err) == (0, "")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), onnx_network.scores)
    assert done.out.splitlines()[-1] == ACCURACY
    accuracy = {"frames": 6, "correct": 4, "top1": 4 / 6}
    assert json.loads((built_onnx / "report.json").read_text())["accuracy"] == accuracy
    assert ACCURACY in hwgen("report", built_onnx).out.splitlines()
    done = hwgen("simulate", built_onnx, "--input", onnx_network.frames, "--output",
                 tmp_path / "y.npy", "--labels", onnx_network.labels, "--json")
    assert json.loads(done.out)["accuracy"] == accuracy


@pytest.mark.slow  # compiles another simulator
def test_verify_takes_integers_in_the_files_own_layout(hwgen, built_onnx, onnx_network, tmp_path):
    codes = np.clip(np.rint(np.load(onnx_network.frames) / 0.25), -8, 7).astype(int)
    np.save(tmp_path / "codes.npy", codes)
    done = hwgen("verify", built_onnx, "--input", tmp_path / "codes.npy")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("6 frames equal the golden model bit for bit: full speed, ")


def test_frames_of_another_layout_are_refused(hwgen, built_onnx, onnx_network, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 3, 2)))
    for where in (["golden", onnx_network.file], ["simulate", built_onnx]):
        done = hwgen(*where, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
        assert refused(done, f"{tmp_path / 'x.npy'}: x: array has shape [1, 3, 3, 2], expected "
                             "[frames, 2, 3, 3]")


def test_a_number_that_is_none_is_refused(hwgen, onnx_network, tmp_path):
    frames = np.load(onnx_network.frames)
    frames[4, 1, 0, 2] = np.nan
    np.save(tmp_path / "x.npy", frames)
    done = hwgen("golden", onnx_network.file, "--input", tmp_path / "x.npy", "--output",
                 tmp_path / "y.npy")
    assert refused(done, f"{tmp_path / 'x.npy'}: x: frame 4, index [1, 0, 2]: nan is no finite "
                         "number")


def test_labels_are_checked_before_the_work(hwgen, onnx_network, built_onnx, tmp_path):
    np.save(tmp_path / "labels.npy", [0, 1, 2, 3, 0, 1])
    for where in (["golden", onnx_network.file], ["simulate", built_onnx]):
        done = hwgen(*where, "--input", onnx_network.frames, "--output", tmp_path / "y.npy",
                     "--labels", tmp_path / "labels.npy")
        assert refused(done, f"{tmp_path / 'labels.npy'}: frame 3: 3 is none of the network's 3 "
                             "classes (0..2)")
        assert not (tmp_path / "y.npy").exists()


def test_labels_are_not_for_an_inner_layer(hwgen, onnx_network):
    done = hwgen("golden", onnx_network.file, "--input", "x.npy", "--output", "y.npy", "--labels",
                 "labels.npy", "--layer", "MatMul_4")
    assert refused(done, "--labels and --layer exclude each other; see `hwgen golden --help`", 2)


@pytest.fixture
def unquantized(tmp_path):
    """A network that does not quantize its input."""
    net = Net(1, 4)
    net.add("MatMul", net.weights(np.eye(4, 2) * 0.5))
    onnx.save(net.model(), tmp_path / "plain.onnx")
    return tmp_path / "plain.onnx"


def test_an_input_type_is_asked_for_where_the_network_has_none(hwgen, unquantized, tmp_path):
    done = hwgen("import", unquantized, "-o", tmp_path / "plain.json")
    assert (done.status, done.out) == (1, "")
    [line] = done.errors
    assert line.startswith("hwgen: error: plain.onnx: ")
    assert "say how the host quantizes it with --input-type TYPE:SCALE, e.g. " in line
    assert not (tmp_path / "plain.json").exists()


def test_an_input_type_says_how_the_host_quantizes(hwgen, unquantized, tmp_path):
    np.save(tmp_path / "x.npy", np.array([[0.3, 2.0, 9.0, 9.0]]))
    golden = ["golden", unquantized, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"]
    assert hwgen(*golden, "--input-type", "UINT2:1/3").status == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), [[1 / 6, 1 / 2]])
    assert hwgen(*golden, "--input-type", "INT4").status == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), [[0, 1]])
    done = hwgen("check", unquantized, "--input-type", "UINT2:1/3")
    assert done.out.splitlines()[-1] == "input, on the host: quantize to UINT2, scale 1/3"


def test_a_build_takes_an_input_type(hwgen, unquantized, tmp_path):
    done = hwgen("build", unquantized, "--input-type", "INT5:0.5", "-o", tmp_path / "d", "--json")
    assert done.status == 0
    assert json.loads(done.out)["host"] == {"input": ["quantize to INT5, scale 0.5"], "output": []}


@pytest.mark.parametrize("text, problem", [
    ("FLOAT", "'FLOAT' is not a type; choose BIPOLAR, TERNARY, INT2 to INT62 or UINT1 to UINT62"),
    ("INT8:small", "'small' is no number"),
    ("INT8:1/0", "'1/0' is no number"),
    ("INT8:-1", "scale must be positive, found -1"),
])
@pytest.mark.parametrize("command", ["check", "import", "build", "golden"])
def test_a_wrong_input_type_is_wrong_usage(hwgen, command, text, problem):
    assert refused(hwgen(command, "net.onnx", "--input-type", text),
                   f"Invalid value for '--input-type': {problem}; give TYPE or TYPE:SCALE, e.g. "
                   f"INT16:0.0009765625 or UINT8:1/255; see `hwgen {command} --help`", 2)


def test_nothing_is_imported_into_a_folder_that_is_not_there(hwgen, onnx_network, tmp_path):
    lost = tmp_path / "no" / "net.json"
    assert refused(hwgen("import", onnx_network.file, "-o", lost),
                   f"{lost}: there is no folder {lost.parent}")


def test_a_network_that_can_not_be_made_exact_is_not_imported(hwgen, tmp_path):
    net = Net(1, 4).quant()
    net.add("MatMul", net.weights(np.eye(4, 2) * 0.5)).add("Sigmoid").add("MatMul", np.eye(2))
    onnx.save(net.model(), tmp_path / "real.onnx")
    done = hwgen("import", tmp_path / "real.onnx", "-o", tmp_path / "real.json")
    assert (done.status, done.out, len(done.errors)) == (1, "", 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["real.onnx"]
