"""What follows from a report's own numbers: times, shares, errors, and figures as benchmarks give.

They are kept in ``report.json`` so that a page or a table computes nothing of its own.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["RULE", "SINGLE_STREAM_FRAMES", "with_figures"]

SINGLE_STREAM_FRAMES = 5
"""Frames of which the latency of a benchmark is the median."""

RULE = (f"As MLPerf Tiny's single stream: one inference at a time, the next begins when the result "
        f"before it is out; latency is the median of {SINGLE_STREAM_FRAMES} inferences, from the "
        "first input beat to the last output beat, both counted. Here of the Verilog simulated at "
        "the design's clock; transfers to and from a host are not in it. Throughput is the "
        "steady state of frames one behind the other. Energy is the estimate of hwgen power "
        "for a frame at that throughput.")

_KEYS = ("lut", "lutram", "ff", "bram36", "dsp")


def with_figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report with its ``figures`` made anew."""
    hertz = report["clock_mhz"] * 1e6
    sim, synth = report.get("sim", {}), report.get("synth", {})
    total = synth.get("total")
    figures: dict[str, Any] = {
        "latency_ms": _milliseconds(report["latency_cycles"], hertz),
        "sim_fps": _ratio(hertz, sim.get("frame_interval_cycles")),
        "sim_latency_ms": _milliseconds(sim.get("latency_cycles"), hertz),
        "utilization": {
            name: {key: _ratio(found.get(key), report["available"][key]) for key in _KEYS}
            for name, found in (("estimate", report["estimate"]), ("synth", total or {}))},
        "estimate_error": _errors(report["estimate"], total or {})}
    found = synth.get("layers", {})
    figures["layers"] = {
        layer["name"]: {
            "busy": layer["cycles"] / report["frame_interval_cycles"],
            "estimate_error": _errors(layer["estimate"], found.get(layer["name"], {}))}
        for layer in report["layers"]}
    figures["benchmark"] = _benchmark(report, hertz)
    return {**report, "figures": figures}


def _milliseconds(clocks: float | None, hertz: float) -> float | None:
    return None if clocks is None else clocks / hertz * 1e3


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _errors(estimate: Mapping[str, float], found: Mapping[str, float]) -> dict[str, float | None]:
    """How much the estimate is over, or below 0 under, synthesis, as a share of it."""
    return {key: 0.0 if estimate[key] == found.get(key) else
            _ratio(estimate[key] - found.get(key, 0), found.get(key)) for key in _KEYS}


def _benchmark(report: Mapping[str, Any], hertz: float) -> dict[str, Any]:
    """Figures of an inference, None where the command that finds them was not run."""
    sim, accuracy = report.get("sim", {}), report.get("accuracy", {})
    single = sim.get("single_stream") or {}
    return {"rule": RULE, "frames": single.get("frames"),
            "latency_ms": _milliseconds(single.get("median_cycles"), hertz),
            "throughput_fps": _ratio(hertz, sim.get("frame_interval_cycles")),
            "energy_per_inference_j": report.get("power", {}).get("energy_per_frame_j"),
            "top1": accuracy.get("top1"), "auc": accuracy.get("auc")}
