# SPDX-License-Identifier: Apache-2.0
"""Ceph keys in libvirt: private, in memory only, and only while a domain starts.

libvirt hands the key to QEMU encrypted, at the start. A domain that runs, and a libvirtd that
comes back, need it no more (seen with libvirt 9.0), so it is removed at once.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from nopal_runtime.errors import TerminalError

from . import libvirt_api
from .base import RbdDisk
from .domain_xml import domain_name, secret_uuid

if TYPE_CHECKING:
    import libvirt


@contextmanager
def secrets_of(
    connection: libvirt.virConnect, vm_uid: str, disks: Sequence[RbdDisk]
) -> Iterator[None]:
    """Define the secrets that the disks name, and remove them afterwards.

    Raises:
        libvirt.libvirtError: from libvirt.
        TerminalError: InvalidKey.
    """
    keys = {secret_uuid(vm_uid, disk): _decoded(disk) for disk in disks}
    try:
        for number, (uuid, key) in enumerate(sorted(keys.items())):
            xml = secret_xml(uuid, usage=f"{domain_name(vm_uid)}-{number}")
            connection.secretDefineXML(xml).setValue(key)
        yield
    finally:
        remove_secrets(connection, vm_uid)


def remove_secrets(connection: libvirt.virConnect, vm_uid: str) -> None:
    """Remove every secret of a VM; absent is success."""
    prefix = f"{domain_name(vm_uid)}-"
    for secret in connection.listAllSecrets():
        try:
            if secret.usageID().startswith(prefix):
                secret.undefine()
        except libvirt_api.load().libvirtError as error:
            if not libvirt_api.is_absent(error):
                raise


def secret_xml(uuid: str, *, usage: str) -> str:
    """Return the definition of a secret whose value nobody can read back."""
    secret = ET.Element("secret", ephemeral="yes", private="yes")
    ET.SubElement(secret, "uuid").text = uuid
    ET.SubElement(ET.SubElement(secret, "usage", type="ceph"), "name").text = usage
    return ET.tostring(secret, encoding="unicode")


def _decoded(disk: RbdDisk) -> bytes:
    try:
        return base64.b64decode(disk.key.strip(), validate=True)
    except (binascii.Error, ValueError):
        # Never the cause: it may show the key.
        raise TerminalError(
            "InvalidKey",
            f"the key of Ceph user client.{disk.user} is not base64: copy it with"
            f" `ceph auth get-key client.{disk.user}`",
        ) from None
