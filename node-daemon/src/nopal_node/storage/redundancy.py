# SPDX-License-Identifier: Apache-2.0
"""How a Ceph pool keeps its copies, read from the monitors' own words. Pure.

All of it is what `allow r` for the monitors may ask: osd pool get, osd crush rule dump, osd tree
and df.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from .base import PoolRedundancy

Json = Mapping[str, Any]
_OSD, _HOST = "osd", "host"


def pool_redundancy(
    *, size: int, min_size: int, rule: Json, tree: Sequence[Json], usage: Json
) -> PoolRedundancy:
    """Return what matters of a pool for the loss of hosts.

    Args:
        size: the pool's size.
        min_size: its min_size.
        rule: its CRUSH rule, as `osd crush rule dump` has it.
        tree: the nodes of `osd tree`.
        usage: `df`; where the rule takes one device class, that class alone is counted.
    """
    root, _, device_class = _taken(rule).partition("~")
    domain, together = _keeps_apart(rule)
    fails = _HOST if domain == _OSD else domain
    weights, osds = _below(tree, root, device_class, fails)
    if domain == _OSD:
        together = max(osds.values(), default=1)
    total = sum(weights.values())
    stats = usage["stats"]
    if device_class:
        stats = usage.get("stats_by_class", {}).get(device_class, stats)
    return PoolRedundancy(
        size=size,
        min_size=min_size,
        failure_domain=domain,
        domains=sum(osds.values()) if domain == _OSD else len(osds),
        copies_together=max(1, min(size, together)),
        raw_total=int(stats["total_bytes"]),
        raw_used=int(stats["total_used_raw_bytes"]),
        shares=tuple(sorted((w / total for w in weights.values()), reverse=True)) if total else (),
    )


def _taken(rule: Json) -> str:
    return next((str(step["item_name"]) for step in rule["steps"] if step["op"] == "take"), "")


def _keeps_apart(rule: Json) -> tuple[str, int]:
    """Return what no two copies are in, and how many copies are in one that may hold several.

    For osd the latter is not known from the rule: as many as a host has OSDs.
    """
    chosen = [step for step in rule["steps"] if step["op"].startswith("choose")]
    if not chosen:
        return _OSD, 1
    last = chosen[-1]
    if last["op"].startswith("chooseleaf") or len(chosen) == 1:
        outer = chosen[-2] if len(chosen) > 1 else None
        if outer is None or last["type"] != _OSD:
            return str(last["type"]), 1
    # Some hosts, and some OSDs of each, as rules for erasure codes have it.
    outer, each = chosen[-2], int(last["num"])
    return str(outer["type"]), each if each > 0 else 64


def _below(
    tree: Sequence[Json], root: str, device_class: str, fails: str
) -> tuple[dict[str, float], dict[str, int]]:
    """Return weight and number of the OSDs in each bucket of a type, below the root of a rule."""
    nodes = {node["id"]: node for node in tree}
    weights: defaultdict[str, float] = defaultdict(float)
    osds: defaultdict[str, int] = defaultdict(int)

    def walk(node: Json, within: str) -> None:
        if node["type"] == fails:
            within = str(node["name"])
        if node["type"] == _OSD:
            if within and device_class in ("", node.get("device_class", "")):
                weights[within] += float(node["crush_weight"]) * float(node.get("reweight", 1))
                osds[within] += 1
            return
        for child in node.get("children", ()):
            if child in nodes:
                walk(nodes[child], within)

    for node in tree:
        if node["name"] == root and node["type"] != _OSD:
            walk(node, "")
    return dict(weights), dict(osds)
