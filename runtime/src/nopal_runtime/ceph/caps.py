# SPDX-License-Identifier: Apache-2.0
"""What a host's Ceph user may do: as little as the whole life of its disks and images needs. Pure.

`profile rbd` for the monitors would let one host blocklist any other: instead it may read, and
blocklist instances of clients at its own addresses, one at a time (never a whole address or range,
never taking an entry back). Breaking a dead lock of another host is refused to it.
"""

from collections.abc import Iterable


def host_caps(*, addresses: Iterable[str], pools: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the capabilities for `ceph auth get-or-create client.nopal.NODE`.

    Args:
        addresses: the host's addresses in the storage networks.
        pools: RBD pools, each with its RBD namespace or an empty string for all of the pool.
    """
    monitors = ["allow r"]
    for address in addresses:
        # The pattern is anchored and its dots are literal. A client's port is 0; nonce 0 is all.
        literal = address.replace(".", "[.]")
        if ":" in address:
            literal = rf"[[]{literal}[]]"
        monitors.append(
            'allow command "osd blocklist" with blocklistop=add'
            f' addr regex "^{literal}:0/[1-9][0-9]*$"'
        )
    storage = [
        f"profile rbd pool={pool}" + (f" namespace={namespace}" if namespace else "")
        for pool, namespace in pools
    ]
    return {"mon": ", ".join(monitors), "osd": ", ".join(storage)}
