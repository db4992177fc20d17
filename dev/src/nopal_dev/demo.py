# SPDX-License-Identifier: Apache-2.0
"""The demo: from nothing to a Debian guest that wrote to Ceph, each stage told and timed."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from nopal_dev import packages
from nopal_dev.binaries import Binaries
from nopal_dev.cache import cache_dir
from nopal_dev.ceph import POOL
from nopal_dev.cluster import Cluster
from nopal_dev.errors import DevError, NotReadyError
from nopal_dev.guest import GuestImage, debian_guest
from nopal_dev.stages import Stages
from nopal_dev.state import marker, state_dir

_ROOT = Path(__file__).parents[3]
_EXAMPLES = _ROOT / "examples"
_VM = "hello"
_DATA = "hello-data"
_LINE = f"nopal: hello from {_VM}"
_KINDS = "zones.nopal.dev,hosts.nopal.dev,networks.nopal.dev,images.nopal.dev,disks.nopal.dev,vms"


def demo(name: str, *, hosts: int = 2) -> None:
    """Run the demo on a cluster of this name; what is there already is found and kept.

    Raises:
        DevError: A stage failed; its words say what to look at.
    """
    stages = Stages(total=9)
    logs = state_dir() / name / "logs"
    nopal = f"{logs}/operator.log; {logs}/node-*-daemon.log"
    vm = f"kubectl describe vm {_VM}; {nopal}"
    packaged = "apt-get update; apt-cache policy ceph-mon; dpkg --audit"
    with stages.stage("Debian packages", look_at=packaged):
        packages.install(stages.say)
    built = f"go version; go env GOPROXY GOFLAGS; df -h {cache_dir()}"
    with stages.stage("Programs of the control plane", look_at=built):
        Binaries.find(stages.say)
    title = f"Cluster {name!r}: control plane, Ceph, {hosts} hosts"
    with stages.stage(title, look_at=f"{logs}/*.log; free -h; df -h {logs.parent}"):
        os.environ.update(marker(name))
        cluster = Cluster.up(name, hosts=hosts, say=stages.say)
    title = "Nopal: CRDs, roles, policies, operator and node daemons"
    with stages.stage(title, look_at=f"{logs}/kube-apiserver.log; {nopal}"):
        cluster.workloads.install()
        cluster.workloads.put_keys(cluster.ceph)
        cluster.workloads.start(supervised=True)
    made = f"apt-get update; df -h {cache_dir()}; {logs}/image-server.log"
    with stages.stage("A Debian 12 guest image, made here", look_at=made):
        image = debian_guest(stages.say)
        cluster.image_server.up()
        stages.say(f"served as {cluster.image_server.serve(image)}")
    with stages.stage("Apply examples/", look_at=f"{logs}/kube-apiserver.log; {nopal}"):
        for each in examples(cluster, image):
            stages.say(f"{each['kind']} {each['metadata']['name']}")
            cluster.kubectl.apply([each])
    with stages.stage(f"Wait until VM {_VM} is Running", look_at=vm):
        _wait_running(cluster, stages)
    title = "The guest's serial console, until cloud-init says hello"
    with stages.stage(title, look_at=vm):
        _follow_console(cluster, stages)
    read = f"kubectl describe disk {_DATA}; ceph status; {logs}/ceph-*.log"
    with stages.stage("What there is now, and what the guest wrote", look_at=read):
        stages.echo(cluster.kubectl.run("get", _KINDS, "-A"))
        _read_back(cluster, stages)
    stages.finish()
    print(f'\nLook around:  eval "$(make -s env)"; kubectl get vm; rbd ls {POOL}')
    print("Remove it:    make down")


def examples(cluster: Cluster, image: GuestImage) -> Iterator[dict[str, Any]]:
    """The objects of examples/ with this cluster's own values filled in."""
    for path in sorted(_EXAMPLES.glob("*.yaml")):
        for each in yaml.safe_load_all(path.read_text()):
            if each["kind"] == "Zone":
                each["spec"]["storageCIDRs"] = [cluster.network.cidr]
                for pool in each["spec"]["pools"]:
                    pool["ceph"] |= {
                        "fsid": cluster.ceph.fsid,
                        "monitors": cluster.ceph.monitors,
                    }
            if each["kind"] == "Image":
                each["spec"]["source"] = {
                    "url": cluster.image_server.serve(image),
                    "sha256": image.sha256,
                    "format": image.format,
                }
            yield each


def _wait_running(cluster: Cluster, stages: Stages, *, timeout: float = 600.0) -> None:
    """Wait for power Running and tell each change of what the conditions say."""
    deadline = time.monotonic() + timeout
    told = ""
    while True:
        status = _status(cluster, "vm", _VM)
        words = _words(status)
        image = _image_progress(cluster)
        if (now := f"{words}{image}") != told:
            stages.say(now)
            told = now
        if status.get("power") == "Running":
            return
        if time.monotonic() > deadline:
            raise NotReadyError(f"VM {_VM}", f"not Running after {timeout:.0f} s: {words}")
        time.sleep(0.5)


def _words(status: Mapping[str, Any]) -> str:
    """The first thing that is not as it should be, or that all is well."""
    for condition in status.get("conditions", []):
        if condition["status"] != "True":
            return f"{condition['type']}: {condition['reason']}: {condition['message']}"
    node = status.get("assignment", {}).get("nodeName")
    return f"{status.get('power', 'not started')} on {node}" if node else "no host yet"


def _image_progress(cluster: Cluster) -> str:
    pools = _status(cluster, "images.nopal.dev", "debian-12").get("pools", [])
    percent = [pool["progressPercent"] for pool in pools if "progressPercent" in pool]
    ready = all(pool.get("state") == "Ready" for pool in pools)
    return "" if ready or not percent else f" (fetched: {percent[0]} %)"


def _follow_console(cluster: Cluster, stages: Stages, *, timeout: float = 600.0) -> None:
    """Show the console's lines until the guest's line.

    cloud-init says it once in the guest's life, and a console's log begins anew with each start. So
    a guest that wrote its data disk in an earlier demo is not waited for.
    """
    vm = cluster.kubectl.get("vm", _VM)
    host = cluster.hosts[vm["status"]["assignment"]["nodeName"]]
    written = _on_data_disk(cluster).strip() == _LINE
    deadline = time.monotonic() + timeout
    seen = 0
    while time.monotonic() < deadline:
        log = host.console_log(vm["metadata"]["uid"])
        lines = _complete_lines(log)
        if written and _LINE not in map(str.strip, lines):
            stages.say("not on this console, but on the data disk, from an earlier start: go on")
            return
        for line in lines[seen:]:
            stages.echo(line.rstrip())
            if line.strip() == _LINE:
                return
        seen = len(lines)
        time.sleep(0.5)
    raise NotReadyError(f"VM {_VM}", f"no {_LINE!r} on its console after {timeout:.0f} s", log)


def _complete_lines(log: Path | None) -> list[str]:
    """The lines of a console's log that are complete; none when there is no log yet."""
    if log is None or not log.exists():
        return []
    return log.read_text(errors="replace").rpartition("\n")[0].splitlines()


def _on_data_disk(cluster: Cluster) -> str:
    """What the guest wrote at the beginning of its data disk."""
    location = _status(cluster, "disks.nopal.dev", _DATA)["location"]
    found = cluster.ceph.read(location["image"], 0, 512, pool=location["pool"])
    return found.split(b"\0")[0].decode(errors="replace")


def _read_back(cluster: Cluster, stages: Stages) -> None:
    location = _status(cluster, "disks.nopal.dev", _DATA)["location"]
    spec = f"{location['pool']}/{location['image']}"
    stages.say(f"the first bytes of {spec}, read by client.admin:")
    text = _on_data_disk(cluster)
    stages.echo(text)
    if text.strip() != _LINE:
        raise DevError(f"{spec} begins with {text[:64]!r}, not with {_LINE!r}")


def _status(cluster: Cluster, kind: str, name: str) -> dict[str, Any]:
    found = cluster.kubectl.get(kind, name)
    return dict(found.get("status") or {}) if found else {}
