"""One copy of each small design for all tests: each compiled simulator is made once."""

import shutil

import pytest
from sim_designs import stage, tensor, tricky


@pytest.fixture(scope="session")
def widener(tmp_path_factory):
    """8 bits in, 100 bits out: 20 lanes of INT5 that repeat lane 0 of 4 lanes of INT2."""
    folder = tmp_path_factory.mktemp("widener") / "design"
    stage(folder, tensor("INT2", (4, 3, 8), 4), tensor("INT5", (4, 3, 40), 20),
          "{20{{3{s_axis_tdata[1]}}, s_axis_tdata[1:0]}}", out_word="{4'd0, held}")
    return folder


@pytest.fixture(scope="session")
def narrower(tmp_path_factory):
    """40 bits in, 1 bit out (BIPOLAR): the sign of lane 0 of 2 lanes of INT20."""
    folder = tmp_path_factory.mktemp("narrower") / "a folder with spaces"
    stage(folder, tensor("INT20", (1, 5, 2), 2), tensor("BIPOLAR", (1, 5, 1), 1),
          "~s_axis_tdata[19]", out_word="{7'd0, held}")
    return folder


@pytest.fixture(scope="session")
def tricky_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tricky") / "design"
    tricky(folder)
    return folder


@pytest.fixture
def changed_copy(tricky_folder, tmp_path):
    """A copy of ``tricky`` to change, with what is compiled of it."""
    return shutil.copytree(tricky_folder, tmp_path / "copy")
