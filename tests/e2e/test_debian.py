# SPDX-License-Identifier: Apache-2.0
"""A real Debian guest: cloud-init from a Secret, an address on the network, bytes in Ceph."""

import socket
from pathlib import Path

import pytest

from nopal_dev.guest import debian_guest
from nopal_dev.hosts import Host
from support.site import NETWORK, Space, condition
from support.waiting import wait

pytestmark = [pytest.mark.real, pytest.mark.guest, pytest.mark.timeout(2700)]

# Debian is large, and boots by emulation here: minutes, where a boot sector takes a second.
IMPORT_SECONDS = 300.0
BOOT_SECONDS = 1500.0

USER_DATA = """#cloud-config
runcmd:
  - |
    echo "nopal: wrote as $(hostname)" | dd of=/dev/disk/by-id/virtio-data conv=fsync status=none
    for n in 1 2 3 4 5; do
      echo "nopal: password $(echo s3cret | rev)" > /dev/ttyS0
      sleep 1
    done
"""
"""It speaks several times: a line of the kernel's may come amid one of its own."""


def test_a_debian_guest_takes_its_secret_and_its_address_and_writes(space: Space) -> None:
    site = space.site
    image = debian_guest()
    server = site.cluster.image_server
    url = server.serve(image)
    site.apply(site.image("debian", url=url, sha256=image.sha256, format=image.format))
    address = site.cluster.network.guest_gateway.rsplit(".", 1)[0] + ".77"
    space.apply(
        space.disk("root", image="debian", size="4Gi"),
        space.disk("data", image=None, size="8Mi"),
        guest(space, address),
    )

    # The Secret is not there, then not readable, then both: the VM heals by itself.
    missing = space.says("hello", "SecretForbidden", kind="Ready", seconds=IMPORT_SECONDS)
    command = condition(missing, "Ready")["message"]
    assert f"-n {space.namespace}" in command
    run(space, "create", "rolebinding", "secrets", "--clusterrole", "nopal-node-secrets",
        "--serviceaccount", "nopal-system:nopal-node")  # fmt: skip
    space.says("hello", "SecretNotFound", kind="Ready")
    run(space, "create", "secret", "generic", "init", f"--from-literal=user-data={USER_DATA}")
    vm = space.running("hello")

    host, _ = space.domain(vm)
    log = console(host, vm["metadata"]["uid"])
    told = "nopal: password terc3s"
    wait(lambda: told in log.read_text(errors="replace"), "it boots", seconds=BOOT_SECONDS)
    written = site.cluster.ceph.read(space.image("data"), 0, 512)
    assert written.startswith(b"nopal: wrote as hello\n")
    wait(lambda: refuses(address), "the guest's own network stack refuses")

    # A guest with an operating system goes down when it is asked to, long before it must.
    space.patch("vm", "hello", {"powerState": "Stopped", "shutdown": {"gracePeriodSeconds": 3600}})
    space.until("hello", lambda v: v["status"]["power"] == "Stopped", "stops", seconds=600)


def guest(space: Space, address: str) -> dict[str, object]:
    network = f"version: 2\nethernets:\n  eth0:\n    addresses: [{address}/24]\n"
    return space.vm(
        "hello",
        memory={"size": "768Mi"},
        disks=[
            {"name": "root", "disk": {"name": "root"}, "bootOrder": 1},
            {"name": "data", "disk": {"name": "data"}},
        ],
        interfaces=[{"name": "lan", "network": {"name": NETWORK}}],
        cloudInit={
            "userDataSecretRef": {"name": "init", "key": "user-data"},
            "networkData": network,
        },
    )


def refuses(address: str) -> bool:
    """Whether the address answers, on a port where nothing listens."""
    try:
        socket.create_connection((address, 9), timeout=30).close()
    except ConnectionRefusedError:
        return True
    except OSError:  # a guest that has just booted may be too busy to answer
        return False
    raise AssertionError("somebody listens there")


def run(space: Space, *args: str) -> None:
    space.site.cluster.kubectl.run(*args, "-n", space.namespace)


def console(host: Host, uid: str) -> Path:
    log = host.console_log(uid)
    assert log is not None
    return log
