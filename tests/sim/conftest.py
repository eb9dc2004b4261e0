"""One compiled copy of each small design for all tests."""

import pytest
from designs import stage, tensor


@pytest.fixture(scope="session")
def widener(tmp_path_factory):
    """8 bits in, 100 bits out: 20 lanes of INT5 that repeat lane 0 of 4 lanes of UINT2."""
    folder = tmp_path_factory.mktemp("widener") / "design"
    stage(folder, tensor("UINT2", (4, 3, 4), 4), tensor("INT5", (4, 3, 20), 20),
          "{20{{3'd0, s_axis_tdata[1:0]}}}")
    return folder
