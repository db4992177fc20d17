# SPDX-License-Identifier: Apache-2.0
"""Zone: whether it survives what spec.redundancy asks for, the least of all that it stands on."""

from dataclasses import dataclass

from nopal_api.conditions import Condition, condition
from nopal_api.host import HostPool
from nopal_api.kinds import VIRTUAL_MACHINE
from nopal_api.redundancy import MAX_FAILURES, PoolRedundancy, Redundancy, RedundancyStatus
from nopal_api.zone import Zone
from nopal_operator.assessment import Assessment
from nopal_operator.candidates import with_names
from nopal_operator.places import not_ready
from nopal_operator.world import Known, World
from nopal_scheduler import Impossible, NotProven

REDUNDANT = "Redundant"
REMEDY = "Add hosts, stop virtual machines, or give some availability.hostLoss: Leave."
"""For a zone without room for what a loss would leave without a host."""
_WITHIN_HOSTS = ("osd", "host")


@dataclass(frozen=True, slots=True)
class Survival:
    """What is told of a zone's redundancy."""

    status: RedundancyStatus | None = None
    condition: Condition | None = None


def survival(world: World, zone: Known[Zone], assessment: Assessment) -> Survival:
    """Return what the zone survives; nothing where it is to survive nothing."""
    wanted = zone.model.spec.redundancy
    if wanted is None or not wanted.failures:
        return Survival()
    pools, unknown = _pools(world, zone)
    down = (*assessment.down, *_gone(world, zone))
    compute = max(0, assessment.proven - len(down))
    least = min((compute, *(min(p.copies, p.raw_space) for p in pools)))
    status = RedundancyStatus(failures=None if unknown else least, compute=compute, pools=pools)
    word, reason, message = _judge(wanted, assessment, status, down=down, unknown=unknown)
    return Survival(status, _say(zone, word, reason, called(world, message)))


def called(world: World, message: str) -> str:
    """Return the scheduler's words with virtual machines as NAMESPACE/NAME: a zone is everybody's.

    Whoever may read zones reads these names; to owners of other virtual machines they are not told.
    """

    def name(uid: str) -> str:
        vm = world.vm_by_uid(uid)
        return f'vm "{vm.record.namespace}/{vm.record.name}"' if vm is not None else "a vm"

    return with_names(message, name)


def unclear(zone: Known[Zone]) -> Survival:
    """Return what is told while not every host was heard of: what was told of the same spec."""
    wanted, status = zone.model.spec.redundancy, zone.model.status
    if wanted is None or not wanted.failures:
        return Survival()
    said = next((c for c in status.conditions if c.type == REDUNDANT), None)
    if said is not None and said.observed_generation == zone.record.generation:
        return Survival(status.redundancy, said)
    message = "not every host of the zone has been heard of yet: wait, or see kubectl get hosts."
    return Survival(None, _say(zone, "Unknown", "HostsUnclear", message))


def _gone(world: World, zone: Known[Zone]) -> tuple[str, ...]:
    """Return nodes without a Host whose virtual machines restart: nobody is there for them."""
    there = {host.record.name for host in world.hosts()}
    name, found = zone.record.name, set()
    for key in world.keys(VIRTUAL_MACHINE):
        facts = world.vm_facts(key)
        if facts is not None and facts.zone == name and facts.hold is not None:
            hold = facts.hold
            if hold.vm.restarts and hold.host not in there:
                found.add(hold.host)
    return tuple(sorted(found))


def _judge(
    wanted: Redundancy,
    assessment: Assessment,
    status: RedundancyStatus,
    *,
    down: tuple[str, ...],
    unknown: tuple[str, ...],
) -> tuple[str, str, str]:
    """Return status, reason and message of the condition: the first thing that is not as asked."""
    k, what = wanted.failures, wanted.topology_key or "host"
    if assessment.proven < k:
        verdict = assessment.verdict
        reason = "ComputeImpossible" if isinstance(verdict, Impossible) else "ComputeNotProven"
        why = verdict.message if isinstance(verdict, NotProven | Impossible) else "not proven"
        return "False", reason, f"{why}. {REMEDY}"
    if status.compute < k:
        message = (
            f"lost already, with virtual machines that restart: {', '.join(down[:3])}. Bring the"
            " hosts back, or delete those virtual machines."
        )
        return "False", "HostsDown", message
    for pool in status.pools:
        if pool.copies < k:
            return "False", "TooFewCopies", _copies(pool, wanted, what)
        if pool.raw_space < k:
            message = (
                f'pool "{pool.name}": after the loss of {k} the rest of Ceph would be too full for'
                " the copies that it makes anew: add OSDs, or delete data."
            )
            return "False", "TooLittleSpace", message
    if unknown:
        named = ", ".join(unknown[:3])
        return "Unknown", "PoolsUnknown", f"no ready host has reported on these pools: {named}"
    return "True", "Survives", f"the loss of any {k} ({what}) is survived"


def _copies(pool: PoolRedundancy, wanted: Redundancy, what: str) -> str:
    told = (
        f'pool "{pool.name}" keeps {pool.size} copies and writes with {pool.min_size}: it survives'
        f" the loss of {pool.copies} ({what}), not of {wanted.failures}."
    )
    if wanted.topology_key is not None or pool.size - pool.min_size >= wanted.failures:
        return f"{told} Give it a CRUSH rule that keeps copies apart by {what}, and enough of them."
    return f"{told} Raise it with: ceph osd pool set POOL size {pool.min_size + wanted.failures}"


def _pools(world: World, zone: Known[Zone]) -> tuple[tuple[PoolRedundancy, ...], tuple[str, ...]]:
    """Return the pools as the least that any ready host reports, and the names of the others."""
    reports: dict[str, list[HostPool]] = {}
    for host in world.hosts(zone.record.name):
        if not not_ready(world, host):
            for pool in host.model.status.pools:
                reports.setdefault(pool.name, []).append(pool)
    apart = zone.model.spec.redundancy is None or zone.model.spec.redundancy.topology_key is None
    found, unknown = [], []
    for name in sorted(pool.name for pool in zone.model.spec.pools):
        told = [_pool(report, hosts_fail=apart) for report in reports.get(name, ())]
        if told:
            found.append(min(told, key=lambda pool: (min(pool.copies, pool.raw_space), pool.size)))
        else:
            unknown.append(name)
    return tuple(found), tuple(unknown)


def _pool(report: HostPool, *, hosts_fail: bool) -> PoolRedundancy:
    together = report.copies_together
    places = report.domains * (1 if report.failure_domain == "osd" else together)
    spare = min(report.size, places) - report.min_size
    copies = max(0, min(MAX_FAILURES, spare // together))
    if not hosts_fail and report.failure_domain in _WITHIN_HOSTS:
        # Nothing keeps two copies out of one rack.
        copies = 0
    return PoolRedundancy(
        name=report.name,
        size=report.size,
        min_size=report.min_size,
        copies=copies,
        raw_space=report.raw_space,
    )


def _say(zone: Known[Zone], word: str, reason: str, message: str) -> Condition:
    return condition(
        REDUNDANT,
        {"True": True, "False": False}.get(word, "Unknown"),
        reason=reason,
        message=message,
        generation=zone.record.generation,
    )
