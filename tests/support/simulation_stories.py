# SPDX-License-Identifier: Apache-2.0
"""What users do to a simulated cluster, and what befalls its guests: the stories of the tests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nopal_api.kinds import DISK, IMAGE, NETWORK, VIRTUAL_MACHINE, ZONE
from support import objects
from support.simulation import Simulation, image, network, zone
from support.simulation_host import SimulatedHost

Act = Callable[[Simulation], None]
NAMESPACE = "default"
GRACE = 5
LONG = 400.0
"""Seconds in which whatever may happen would have happened."""


def cluster(sim: Simulation) -> None:
    """A zone with a network, an image and three disks."""
    sim.kube.put(ZONE, zone())
    sim.kube.put(NETWORK, network())
    sim.kube.put(IMAGE, image())
    disk(sim, "root", source={"image": {"name": "debian"}})
    disk(sim, "data")
    disk(sim, "keep", reclaimPolicy="Retain")


def disk(sim: Simulation, name: str, **spec: Any) -> None:
    """Apply a Disk."""
    sim.kube.put(DISK, objects.disk(name, **spec))


def vm(sim: Simulation, name: str = "vm1", **spec: Any) -> None:
    """Apply a VM with two disks, a network and cloud-init."""
    whole = {
        "disks": uses("root", "data"),
        "interfaces": [{"name": "eth0", "network": {"name": "lan"}}],
        "cloudInit": {"userData": "#cloud-config"},
        "shutdown": {"gracePeriodSeconds": GRACE},
        **spec,
    }
    sim.kube.put(VIRTUAL_MACHINE, objects.vm(name, **whole))


def uses(*disks: str) -> list[dict[str, Any]]:
    """Return a VM's list of disks."""
    return [{"name": name, "disk": {"name": name}} for name in disks]


def stopped(sim: Simulation) -> None:
    """Ask for the VM to be stopped."""
    vm(sim, powerState="Stopped")


def removes(kind: Any, name: str, namespace: str = "") -> Act:
    """Return the deletion of an object."""
    return lambda sim: sim.kube.remove(kind, name, namespace)


remove_vm = removes(VIRTUAL_MACHINE, "vm1", NAMESPACE)


def guest(sim: Simulation) -> tuple[SimulatedHost, str]:
    """Return the only guest's host, and its UID."""
    ((host, uid),) = [(h, uid) for h in sim.host.values() for uid in h.domains]
    return host, uid


def vanishes(sim: Simulation) -> None:
    """Somebody takes the VM's finalizer off and deletes it."""
    sim.kube.strip_finalizers(VIRTUAL_MACHINE, "vm1", NAMESPACE)
    sim.kube.remove(VIRTUAL_MACHINE, "vm1", NAMESPACE)


def kills_qemu(sim: Simulation) -> None:
    """kill -9 of the guest's QEMU."""
    host, uid = guest(sim)
    host.kill(uid)


def powers_off(sim: Simulation) -> None:
    """The guest powers itself off."""
    host, uid = guest(sim)
    host.guest_powers_off(uid)


def condition(
    sim: Simulation, kind: Any, name: str, which: str = "Ready", namespace: str = ""
) -> dict[str, Any]:
    """Return a condition of an object; empty if it has none."""
    body = sim.kube.see(kind, name, namespace) or {}
    found = (c for c in body.get("status", {}).get("conditions", ()) if c["type"] == which)
    return next(found, {})


def of_vm(sim: Simulation, which: str = "Ready", name: str = "vm1") -> dict[str, Any]:
    """Return a condition of the VM."""
    return condition(sim, VIRTUAL_MACHINE, name, which, NAMESPACE)


def of_disk(sim: Simulation, name: str, which: str = "Ready") -> dict[str, Any]:
    """Return a condition of a disk."""
    return condition(sim, DISK, name, which, NAMESPACE)


def power(sim: Simulation, name: str = "vm1") -> str:
    """Return what the VM's status says of its power."""
    body = sim.kube.see(VIRTUAL_MACHINE, name, NAMESPACE) or {}
    return str(body.get("status", {}).get("power", ""))


def deaf(_event: Any, _body: Any) -> tuple[float, ...]:
    """Deliver no event."""
    return ()


async def running(sim: Simulation) -> tuple[str, str]:
    """A VM runs; return its host and the other one."""
    cluster(sim)
    vm(sim)
    await sim.settle()
    host, _ = guest(sim)
    (other,) = set(sim.host) - {host.name}
    return host.name, other


def uid_of(sim: Simulation, name: str, kind: Any = DISK) -> str:
    body = sim.kube.see(kind, name, NAMESPACE if kind.namespaced else "")
    assert body is not None
    return str(body["metadata"]["uid"])


def image_of(sim: Simulation, name: str) -> Any:
    return sim.cluster.pools["vms", ""].images[f"disk-{uid_of(sim, name)}"]


@dataclass(frozen=True, slots=True)
class Story:
    """First what is done before, each step brought to rest; then what is looked at."""

    before: tuple[Act, ...]
    act: Act


def _all_at_once(sim: Simulation) -> None:
    cluster(sim)
    vm(sim)


def puts(kind: Any, body: Any) -> Act:
    """Apply an object."""

    def act(sim: Simulation) -> None:
        sim.kube.put(kind, body)

    return act


def _both(*acts: Act) -> Act:
    def act(sim: Simulation) -> None:
        for one in acts:
            one(sim)

    return act


STORIES = {
    "everything at once": Story((), _all_at_once),
    "an image is fetched": Story((puts(ZONE, zone()),), puts(IMAGE, image())),
    "a VM is created": Story((cluster,), vm),
    "a VM is stopped": Story((cluster, vm), stopped),
    "a VM is started again": Story((cluster, vm, stopped), vm),
    "a VM is deleted": Story((cluster, vm), remove_vm),
    "a VM and its disks are deleted": Story(
        (cluster, vm),
        _both(removes(DISK, "root", NAMESPACE), removes(DISK, "data", NAMESPACE), remove_vm),
    ),
    "a VM vanishes while its guest runs": Story((cluster, vm), vanishes),
    "a disk is deleted": Story((cluster,), removes(DISK, "root", NAMESPACE)),
    "a disk is retained": Story((cluster,), removes(DISK, "keep", NAMESPACE)),
    "an image is deleted": Story((cluster,), removes(IMAGE, "debian")),
    "a network is deleted": Story((cluster,), removes(NETWORK, "lan")),
    "QEMU is killed": Story((cluster, vm), kills_qemu),
    "a guest powers off and is started again": Story((cluster, vm), powers_off),
    "a guest powers off and is left so": Story(
        (cluster, lambda sim: vm(sim, restartPolicy="OnCrash")), powers_off
    ),
    "QEMU is killed and left so": Story(
        (cluster, lambda sim: vm(sim, restartPolicy="Never")), kills_qemu
    ),
    "a VM that was left down is stopped": Story(
        (cluster, lambda sim: vm(sim, restartPolicy="Never"), powers_off),
        lambda sim: vm(sim, restartPolicy="Never", powerState="Stopped"),
    ),
}
