# SPDX-License-Identifier: Apache-2.0
"""The state of a simulation in words that do not depend on how it came about.

Left out: times, UIDs, epochs and which host does what. They may differ after a crash.
"""

import json
from typing import Any

from nopal_api.kinds import DISK, IMAGE, KINDS, VIRTUAL_MACHINE
from support.simulation import Simulation

_VARYING = frozenset(
    {"lastTransitionTime", "time", "epoch", "observedEpoch", "releasedEpoch", "deletedEpoch",
     "releasedClaimEpoch", "nodeName", "uid", "vmUID", "nodeUID", "mac", "cephAddresses",
     "restartCount", "message"}
)  # fmt: skip


def facts(sim: Simulation) -> dict[str, Any]:
    """Return everything that a user can see: objects, guests, images, bridges."""
    names = sim.named
    return {
        "objects": {
            f"{key.kind} {key.namespace}/{key.name}": _plain(found.body, names)
            for key, found in sorted(sim.kube._objects.items())
            if key.kind in {k.kind for k in KINDS}
        },
        "guests": sorted(
            names.get(uid, "?") for host in sim.host.values() for uid in host.domains
        ),
        "images": {
            "/".join(where): sorted(_named(i, names) for i in pool.images)
            for where, pool in sim.cluster.pools.items()
        },
        "trash": sorted(
            _named(t.name, names) for p in sim.cluster.pools.values() for t in p.trash.values()
        ),
        "links": {
            name: sorted(_named(link.name, names) for link in host.links._links.values()
                         if link.kind == "bridge")
            for name, host in sim.host.items()
        },
        "records": sorted(names.get(uid, "?") for h in sim.host.values() for uid in h.records),
    }  # fmt: skip


def difference(one: Any, other: Any, path: str = "") -> list[str]:
    """Return where two states differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other})
        return [d for k in keys for d in difference(one.get(k), other.get(k), f"{path}/{k}")]
    return [] if one == other else [f"{path}: {one} instead of {other}"]


def check(sim: Simulation) -> None:
    """What must hold whenever all is at rest: nobody waits for a word that was said already."""
    seen = facts(sim)
    for body in _all(sim, VIRTUAL_MACHINE.kind):
        status, uid = body.get("status", {}), body["metadata"]["uid"]
        assignment = status.get("assignment")
        where = [name for name, host in sim.host.items() if uid in host.domains]
        live = assignment and status.get("releasedEpoch", 0) < assignment["epoch"]
        assert where in ([], [assignment["nodeName"]] if live else []), (where, status)
        if live:
            _check_claims(sim, uid, assignment)
    for body in _all(sim, DISK.kind):
        status = body.get("status", {})
        claim = status.get("claim")
        assert claim is None or status["executor"]["nodeName"] == claim["nodeName"], status
    assert "?" not in seen["guests"], seen["guests"]


def _check_claims(sim: Simulation, uid: str, assignment: dict[str, Any]) -> None:
    """Each disk of a live assignment is claimed for just that."""
    wanted = {"vmUID": uid, "nodeName": assignment["nodeName"], "epoch": assignment["epoch"]}
    disks = {body["metadata"]["uid"]: body for body in _all(sim, DISK.kind)}
    for used in assignment.get("disks", ()):
        claim = disks[used["uid"]].get("status", {}).get("claim", {})
        assert {k: claim.get(k) for k in wanted} == wanted, (claim, assignment)


def _all(sim: Simulation, kind: str) -> list[dict[str, Any]]:
    return [found.wire() for key, found in sim.kube._objects.items() if key.kind == kind]


def _named(text: str, names: dict[str, str]) -> str:
    for uid, name in names.items():
        text = text.replace(uid, f"<{name}>")
    return text


def _plain(body: dict[str, Any], names: dict[str, str]) -> Any:
    status = body.get("status", {})
    assignment, claim = status.get("assignment"), status.get("claim")
    said = {
        "finalizers": body["metadata"].get("finalizers"),
        "deleting": "deletionTimestamp" in body["metadata"],
        "status": _without(status),
    }
    if assignment is not None:
        said["released"] = status.get("releasedEpoch", 0) >= assignment["epoch"]
        said["current"] = status.get("observedEpoch") == assignment["epoch"]
        if not said["released"]:
            # How the guest before this one ended is known only to who was there.
            said["status"].pop("lastExit", None)
    if claim is not None:
        said["claimed by"] = names.get(claim["vmUID"], "?")
    if body["kind"] == IMAGE.kind:
        said["pools"] = [p.get("epoch") == p["executor"]["epoch"] for p in status.get("pools", ())]
    return json.loads(_named(json.dumps(said), names))


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without(v) for k, v in sorted(value.items()) if k not in _VARYING}
    if isinstance(value, list):
        plain = [_without(v) for v in value]
        return sorted(plain, key=str)
    return value
