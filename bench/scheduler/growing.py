# SPDX-License-Identifier: Apache-2.0
"""How time and memory grow with the zone: each size in a process of its own.

As a program it measures one size and prints JSON: `python -m bench.scheduler.growing HOSTS K`.
"""

import gc
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.scheduler.generate import make_cluster, make_hosts, make_vms
from bench.scheduler.report import Report, Row, percentile, seconds, timed
from nopal_scheduler.placing.place import Placement
from nopal_scheduler.proof import Proof
from nopal_scheduler.scheduler import Scheduler

VMS = 10
"""For each host."""
_DECISIONS = 50


def measure(report: Report) -> None:
    """Measure 100 to 2,000 hosts with k = 0, 1 and 2."""
    sizes = (100, 200) if report.quick else (100, 200, 500, 1_000, 2_000)
    for failures in (0, 1, 2):
        before: dict[str, Any] = {}
        for hosts in sizes:
            report.say(f"growth: {hosts:,} hosts, k = {failures}")
            here = _in_its_own_process(hosts, failures)
            report.add(
                Row(
                    what=f"growth, {hosts:,} hosts, {hosts * VMS:,} VMs, k = {failures}",
                    ours=(
                        f"from nothing {seconds(here['build'])}"
                        f"{'' if here['proven'] else ' (not proven)'},"
                        f" decision p50 {seconds(here['p50'])}, p95 {seconds(here['p95'])},"
                        f" {here['scheduler MiB']:.0f} MiB"
                    ),
                    beside=_growth(before, here, hosts) if before else "first size",
                    raw=here,
                )
            )
            before = here | {"hosts": hosts}


def _growth(before: dict[str, Any], here: dict[str, Any], hosts: int) -> str:
    names = {"from nothing": "build", "decision": "p50", "memory": "scheduler MiB"}
    factors = (f"{name} x{here[key] / max(before[key], 1e-6):.1f}" for name, key in names.items())
    return f"hosts x{hosts / before['hosts']:.1f}: {', '.join(factors)}"


def _in_its_own_process(hosts: int, failures: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.scheduler.growing", str(hosts), str(failures)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _measure_one(hosts: int, failures: int) -> dict[str, Any]:
    cluster = make_cluster(make_hosts(hosts), hosts * VMS, seed=1, failures=failures)
    gc.collect()
    bare = _memory("VmRSS")
    # The peak counts from here on: see proc(5).
    Path("/proc/self/clear_refs").write_text("5")
    scheduler, build = timed(lambda: Scheduler(cluster))
    samples, placed = [], 0
    for vm in itertools.islice(make_vms(2, prefix="new"), _DECISIONS):
        answer, took = timed(lambda: scheduler.admit(vm))  # noqa: B023 - called at once
        placed += isinstance(answer, Placement)
        samples.append(took)
    peak = _memory("VmHWM")
    verdict, writing = timed(scheduler.verdict)
    return {
        "build": build,
        "p50": percentile(samples, 0.5),
        "p95": percentile(samples, 0.95),
        "placed": placed,
        "proven": failures == 0 or isinstance(verdict, Proof),
        "writing the proof": writing,
        # Peak of resident memory over what interpreter, numpy and the cluster as data take.
        "scheduler MiB": peak - bare,
        "data and interpreter MiB": bare,
    }


def _memory(key: str) -> float:
    """Return resident memory of this process in MiB: VmRSS, or its peak, VmHWM.

    Not `ru_maxrss`, which a new process takes over from the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(_measure_one(int(sys.argv[1]), int(sys.argv[2]))))
