# SPDX-License-Identifier: Apache-2.0
"""A host on which everything is as it should be."""

from nopal_node.host.facts import HostFacts
from nopal_node.host.preflight import HostSeen, PoolSeen
from nopal_node.hypervisor.base import HypervisorFacts

FACTS = HostFacts(
    cpu_threads=16,
    memory=64 * 2**30 + 12345,
    kernel="6.1.0-18-amd64",
    boot_id="ddc6c09d-90cd-4d9a-84f0-0778aade3778",
    bridge_filter=False,
    clock_synchronized=True,
)
HYPERVISOR = HypervisorFacts(
    libvirt_version="9.0.0", qemu_version="7.2.9", kvm=True, kvm_message="", cpu_features=("avx2",)
)
POOL = PoolSeen("main", addresses=("10.0.0.11",), osd_hosts=3)
SEEN = HostSeen(
    facts=FACTS,
    hypervisor=HYPERVISOR,
    zone="z1",
    storage_cidrs=("10.0.0.0/24", "fd00::/64"),
    pools=(POOL,),
    reserved=4 * 2**30,
    pods=4 * 2**30,
)
