# SPDX-License-Identifier: Apache-2.0
"""When a domain that nobody wants may be removed: never at one look, never many at once."""

from collections.abc import Mapping

import pytest

from nopal_node.hypervisor.base import Domain, DomainState, Ownership
from nopal_node.reconcile.orphans import OrphanView, Verdict, judge

WAIT = 60.0


def domains(count: int, **of_the_first: str) -> dict[str, Domain]:
    made = {}
    for number in range(count):
        owner = {"cluster_uid": "cluster", "host_uid": "host"}
        owner |= of_the_first if number == 0 else {}
        uid = f"vm-{number}"
        ownership = Ownership(vm_uid=uid, epoch=1, namespace="default", name=uid, **owner)
        made[uid] = Domain(ownership=ownership, state=DomainState.RUNNING)
    return made


def look(
    there: dict[str, Domain],
    *unknown: str,
    now: float = 0.0,
    seen: Mapping[str, float] | None = None,
    cluster: str = "cluster",
    host: str = "host",
) -> Verdict:
    view = OrphanView(
        domains=there, unknown=frozenset(unknown), cluster_uid=cluster, host_uid=host, now=now
    )
    return judge(view, seen or {}, wait=WAIT)


def test_a_domain_that_the_api_knows_is_no_orphan() -> None:
    assert look(domains(3), now=500.0, seen={"vm-0": 0.0}) == Verdict()


def test_an_orphan_goes_only_when_it_was_missed_twice_a_minute_apart() -> None:
    first = look(domains(1), "vm-0", now=100.0)
    assert first.remove == ()
    assert look(domains(1), "vm-0", now=159.0, seen=first.first_seen).remove == ()
    assert look(domains(1), "vm-0", now=160.0, seen=first.first_seen).remove == ("vm-0",)


def test_a_domain_that_was_known_in_between_starts_to_wait_anew() -> None:
    first = look(domains(1), "vm-0", now=100.0)
    between = look(domains(1), now=130.0, seen=first.first_seen)
    assert look(domains(1), "vm-0", now=160.0, seen=between.first_seen).remove == ()


@pytest.mark.parametrize(
    ("how", "words"),
    [({"cluster": "other"}, "kubeconfig"), ({"cluster": ""}, "kubeconfig"),
     ({"host": "other"}, "CRDs"), ({"host": ""}, "CRDs")],
    ids=["another cluster", "no cluster", "the Host was made anew", "no Host"],
)  # fmt: skip
def test_a_cluster_that_is_not_the_domains_own_removes_nothing(
    how: dict[str, str], words: str
) -> None:
    verdict = look(domains(20), "vm-1", now=500.0, seen={"vm-1": 0.0}, **how)
    assert (verdict.remove, verdict.held) == ((), ("vm-1",))
    assert words in verdict.message


@pytest.mark.parametrize("field", ["cluster_uid", "host_uid"])
def test_one_foreign_orphan_holds_the_others_too(field: str) -> None:
    there = domains(40, **{field: "other"})
    verdict = look(there, "vm-0", "vm-1", now=500.0, seen={"vm-0": 0.0, "vm-1": 0.0})
    assert (verdict.remove, verdict.held) == ((), ("vm-0", "vm-1"))


def test_a_foreign_domain_that_the_api_knows_holds_nothing() -> None:
    there = domains(20, host_uid="other")
    assert look(there, "vm-1", now=500.0, seen={"vm-1": 0.0}).remove == ("vm-1",)


@pytest.mark.parametrize(
    ("total", "orphans", "removed"),
    [(1, 1, True), (9, 1, True), (2, 2, False), (19, 2, False), (20, 2, True), (20, 3, False)],
)
def test_more_than_a_tenth_of_the_host_is_held(total: int, orphans: int, removed: bool) -> None:
    names = [f"vm-{n}" for n in range(orphans)]
    verdict = look(domains(total), *names, now=500.0, seen=dict.fromkeys(names, 0.0))
    assert bool(verdict.remove) is removed
    assert bool(verdict.held) is not removed
    assert removed or "virsh" in verdict.message


def test_a_qemu_that_the_hypervisor_has_lost_is_nobodys_to_remove() -> None:
    there = domains(1)
    owner = Ownership(vm_uid="vm-0", epoch=0, cluster_uid="", host_uid="", namespace="", name="")
    there["vm-0"] = Domain(ownership=owner, state=DomainState.RUNNING, pid=4711)
    verdict = look(there, "vm-0", now=500.0, seen={"vm-0": 0.0})
    assert (verdict.remove, verdict.held) == ((), ("vm-0",))
    assert "4711" in verdict.message
