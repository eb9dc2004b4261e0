"""Compile a built design and run its cocotb test bench, in a process of its own.

``python run_bench.py SETTINGS`` with a JSON file: ``top``, ``sources``, ``build`` (folder of the
compiled simulator), ``work`` (current directory of the simulator), ``compile_args``, ``make_args``
and ``bench`` (the file for ``test_hwgen_top``). cocotb-test finds Verilator through PATH and
VERILATOR_ROOT, and changes signal handlers and the environment, hence the process.
"""

import json
import sys
from pathlib import Path

from cocotb_test.simulator import run


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    run(simulator="verilator", toplevel=settings["top"], module="test_hwgen_top",
        verilog_sources=settings["sources"], python_search=[str(Path(__file__).parent)],
        sim_build=settings["build"], work_dir=settings["work"],
        compile_args=settings["compile_args"], make_args=settings["make_args"],
        extra_env={"HWGEN_BENCH": settings["bench"], "COCOTB_TRUST_INERTIAL_WRITES": "1",
                   "COCOTB_RANDOM_SEED": "1"})


if __name__ == "__main__":
    main()
