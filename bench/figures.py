# SPDX-License-Identifier: Apache-2.0
"""The figures: start latency, burst, API writes, memory."""

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.api_writes import ApiWrites
from bench.bare import Bare, percentile
from bench.ready_watch import ReadyWatch
from nopal_api.kinds import DISK
from nopal_api.kinds import VIRTUAL_MACHINE as VM
from nopal_dev.processes import Process
from support.cluster import as_admin
from support.site import Site, Space
from support.waiting import wait

NAMESPACE = "bench"
NODE = "node-1"
QUIET_SECONDS = 30.0
"""How long steady state is watched."""


class Figures:
    """Measures on a running site, and prints."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._space = Space(site, NAMESPACE)
        self.raw: dict[str, Any] = {}

    def prepare(self) -> None:
        """Make the image, and a first VM that warms everything up."""
        site, space = self._site, self._space
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        site.apply(namespace)
        # The burst is to start at once, not to wait for room.
        site.apply(site.image("counter"), site.zone(cpuOvercommitPercent=3200))
        wait(lambda: site.ready("image", "counter"), "the image is fetched")
        space.apply(space.disk("warm"), space.vm("warm", "warm"))
        vm = space.running("warm")
        host, _ = space.domain(vm)
        disk = vm["status"]["assignment"]["disks"][0]
        self._bare = Bare(
            site.cluster,
            node=host.name,
            parent=disk["parent"]["location"]["image"],
            snapshot=disk["parent"]["snapshot"],
            xml=host.virsh("dumpxml", vm["metadata"]["uid"]),
        )
        self._bare.start_one()
        self._bare.clear()
        self._watch = ReadyWatch(site.cluster, NAMESPACE)
        self._admin = as_admin(site.cluster)

    def close(self) -> None:
        """Remove what the bare starts left."""
        self._bare.close()

    def latency(self, samples: int) -> None:
        """From the creation of a disk and a VM to Ready=True, beside clone + createXML."""
        bare, ours = [], []
        writes = Counter[str]()
        for number in range(samples):
            # By turns, so that the machine's moods fall on both.
            bare.append(self._bare.start_one())
            self._bare.clear()
            counting = ApiWrites(self._site.cluster)
            ours.append(self._one(f"one-{number}"))
            time.sleep(1.0)
            writes += counting.since()
            self._space.delete("vm", f"one-{number}")
            self._space.delete("disk", f"one-{number}")
        self.raw |= {"bare": bare, "ours": ours}
        for share, goal in ((0.5, 1.5), (0.95, 2.0)):
            limit, got = percentile(bare, share), percentile(ours, share)
            print(
                f"apply to Running p{share * 100:.0f}: {got * 1000:.0f} ms; clone + createXML"
                f" {limit * 1000:.0f} ms; ratio {got / limit:.2f} (goal {goal})"
            )
        self._writes("create to Running", writes, samples)

    def burst(self, count: int) -> None:
        """So many VMs at once, beside the bare start rate with 4 threads."""
        limit = self._bare.start_many(count, threads=4)
        self._bare.clear()
        names = [f"burst-{number}" for number in range(count)]
        begun = time.monotonic()
        for name in names:
            self._create(name)
        took = self._watch.until(names, seconds=300) - begun
        rate = count / took
        print(
            f"{count} VMs at once: {took:.1f} s, {rate:.2f}/s; bare {limit.per_second:.2f}/s;"
            f" share {rate / limit.per_second:.0%}"
        )
        self.raw["burst"] = {"ours": took, "bare": limit.seconds, "count": count}
        time.sleep(15.0)  # the zone's sums are written at most every 10 s
        counting = ApiWrites(self._site.cluster)
        self._clear(names, "vm")
        writes = counting.since()
        self._writes("VM delete", writes, count)
        self._clear(names, "disk")
        self._writes("Disk delete", counting.since(), count)

    def steady(self) -> None:
        """Writes while nothing changes and one VM runs."""
        time.sleep(15.0)
        counting = ApiWrites(self._site.cluster)
        time.sleep(QUIET_SECONDS)
        writes = counting.since()
        self.raw["steady"] = dict(writes)
        print(
            f"API writes in {QUIET_SECONDS:.0f} s of steady state: {sum(writes.values())} (goal 0)"
        )

    def memory(self, count: int) -> None:
        """Resident memory at 1 and at so many VM objects, all assigned to one daemon."""
        self._report_memory(1)
        kubectl = self._site.cluster.kubectl
        objects = []
        for number in range(count):
            vm = self._space.vm(f"idle-{number}", f"none-{number}", powerState="Stopped")
            objects.append(vm)
        for begin in range(0, count, 100):
            kubectl.apply(objects[begin : begin + 100])
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._assign, range(count)))
        time.sleep(20.0)
        self._report_memory(count)
        kubectl.run("delete", "vm", "--all", "-n", NAMESPACE, "--timeout=300s", timeout=310.0)

    def _one(self, name: str) -> float:
        begun = time.monotonic()
        self._create(name)
        return self._watch.until([name], seconds=60) - begun

    def _create(self, name: str) -> None:
        """Create a disk and a VM as any client does: two requests."""
        for kind, body in ((DISK, self._space.disk(name)), (VM, self._space.vm(name, name))):
            answer = self._admin.create(kind, body)
            assert answer.ok, answer.message

    def _clear(self, names: list[str], kind: str) -> None:
        self._site.cluster.kubectl.run(
            "delete", kind, *names, "-n", NAMESPACE, "--timeout=200s", timeout=210.0
        )

    def _writes(self, what: str, writes: Counter[str], count: int) -> None:
        """Print the writes for each object, the users' own apply or delete left out."""
        ours = {k: v for k, v in sorted(writes.items()) if "/status" in k or not _users(k)}
        for key, number in ours.items():
            print(f"API writes, {what}: {number / count:.2f} {key} for each VM")
        self.raw[f"writes {what}"] = {k: v / count for k, v in ours.items()}

    def _report_memory(self, count: int) -> None:
        processes = self._site.cluster.processes
        for name in ("operator", f"{NODE}-daemon"):
            process = processes.find(name)
            assert process is not None, f"{name} does not run"
            resident = _resident(process)
            self.raw[f"memory {name} {count}"] = resident
            print(f"resident memory of {name} at {count} VM objects: {resident / 2**20:.0f} MiB")

    def _assign(self, number: int) -> None:
        """Make the VM one of the daemon's, released, as a stopped VM is."""
        name = f"idle-{number}"
        status = {
            "assignment": {"nodeName": NODE, "epoch": 1, "cores": 1, "memory": 32 << 20},
            "releasedEpoch": 1,
            "lastExit": {"reason": "Requested", "time": "2026-01-01T00:00:00Z"},
        }
        self._site.cluster.kubectl.run(
            "patch", "vm", name, "-n", NAMESPACE, "--subresource=status", "--type=merge",
            "-p", json.dumps({"status": status}),
        )  # fmt: skip


def _users(write: str) -> bool:
    verb, _, resource = write.partition(" ")
    return "/" not in resource and verb in ("POST", "DELETE", "APPLY")


def _resident(process: Process) -> int:
    """Resident bytes of the process and its children (nsenter stands before a daemon)."""
    total, waiting = 0, [process.pid]
    while waiting:
        pid = waiting.pop()
        status = Path(f"/proc/{pid}/status").read_text()
        rss = next((line for line in status.splitlines() if line.startswith("VmRSS")), "VmRSS: 0")
        total += int(rss.split()[1]) * 1024
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        waiting += [int(child) for child in children]
    return total
