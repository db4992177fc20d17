# SPDX-License-Identifier: Apache-2.0
"""What guests leave behind on hosts and in pools: nothing, once they and their disks are gone."""

from nopal_api.names import source_image
from support.parts import taps
from support.site import Site

_FOLDERS = ("/run/libvirt", "/var/log/libvirt", "/var/lib/libvirt", "/etc/libvirt")
_PREFIX = "nopal-"
"""Of every name that we give to something in libvirt."""


def leftovers(site: Site) -> set[str]:
    """Images that no Image accounts for, QEMU processes, domains, taps, files, secrets."""
    listed = site.cluster.kubectl.get("images.nopal.dev")
    sources = {source_image(image["metadata"]["uid"]) for image in listed["items"]}
    found = {f"image {name}" for name in site.images() - sources}
    found |= {f"tap {name} on {node}" for node, name in taps(site)}
    for node, host in site.cluster.hosts.items():
        found |= {f"process {pid} on {node}" for pid in host.qemu_pids()}
        domains = host.virsh("list", "--all", "--name").split()
        files = host.run("find", *_FOLDERS, "-name", f"*{_PREFIX}*", check=False).splitlines()
        secrets = host.virsh("secret-list").splitlines()
        kinds = {"domain": domains, "file": files, "secret": secrets}
        for kind, names in kinds.items():
            found |= {f"{kind} {name} on {node}" for name in names if name.strip()}
    return found
