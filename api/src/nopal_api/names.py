# SPDX-License-Identifier: Apache-2.0
"""Names that Nopal gives: field managers, finalizers, MAC addresses, RBD images."""

import hashlib

GROUP = "nopal.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "nopal"
SYSTEM_NAMESPACE = "nopal-system"
HOST_LEASE_NAMESPACE = "nopal-hosts"
"""The hosts' heartbeats. Apart from the operator's Lease: a daemon may write only here."""

FINALIZER = f"{GROUP}/release"
"""On every VirtualMachine, Disk, Image, Network and Host: the operator removes it when nothing of
the object is left on a host or in a pool."""

MANAGER_ASSIGNMENT = f"{GROUP}/assignment"
MANAGER_OPERATOR = f"{GROUP}/operator"
MANAGER_NODE = f"{GROUP}/node"


def image_manager(zone: str, pool: str) -> str:
    """Return the field manager of an image's executor in one pool.

    One for each pool, because several hosts report on one Image; at most 128 bytes.
    """
    return f"{MANAGER_NODE}-{hashlib.sha256(f'{zone}/{pool}'.encode()).hexdigest()[:16]}"


def mac_address(vm_uid: str, interface: str) -> str:
    """Return the MAC address of an interface: a function of the VM's UID and the interface's name.

    The prefix 02 marks a locally administered unicast address (IEEE 802), the other 40 bits come
    from a hash.
    """
    digest = hashlib.sha256(f"{vm_uid}/{interface}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def disk_image(uid: str) -> str:
    """Return the RBD image of a Disk."""
    return f"disk-{uid}"


def source_image(uid: str) -> str:
    """Return the RBD image of an Image's contents."""
    return f"image-{uid}"


def seed_image(vm_uid: str) -> str:
    """Return the RBD image of a VM's cloud-init seed."""
    return f"seed-{vm_uid}"


def ceph_user(node_name: str) -> str:
    """Return the cephx user of a host, without the leading client."""
    return f"nopal.{node_name}"
