# SPDX-License-Identifier: Apache-2.0
"""What a cluster survives, in words and as data."""

from typing import Any

from ..model import Cluster
from ..proof import Impossible, NotProven, Proof, Verdict
from ..words import counted


def verdict_text(cluster: Cluster, verdict: Verdict) -> str:
    """Return one sentence; empty where nothing is to be survived."""
    if not cluster.redundancy.failures:
        return ""
    if isinstance(verdict, Proof):
        form = counted(len(verdict.cases), "case") if verdict.cases else "backup lists"
        return f"{cluster.redundancy}: proven ({form})"
    return f"{cluster.redundancy}: {verdict.message}"


def verdict_data(cluster: Cluster, verdict: Verdict) -> dict[str, Any]:
    """Return the same for programs; the proof itself goes to a file of its own."""
    data: dict[str, Any] = {
        "failures": cluster.redundancy.failures,
        "topology": cluster.redundancy.topology,
    }
    if isinstance(verdict, Proof):
        return {**data, "verdict": "proven", "form": "cases" if verdict.cases else "backup lists"}
    if isinstance(verdict, Impossible):
        data |= {"verdict": "impossible", "lost": list(verdict.lost)}
    elif isinstance(verdict, NotProven):
        lost, unplaced = list(verdict.worst.lost), list(verdict.unplaced)
        data |= {"verdict": "not proven", "lost": lost, "unplaced": unplaced}
    return {**data, "message": verdict.explanation}
