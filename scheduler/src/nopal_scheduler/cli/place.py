# SPDX-License-Identifier: Apache-2.0
"""`place`: where virtual machines go that have no host yet, and why nowhere."""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..answer import NoPlacement, Placement, Refusal
from ..model import Cluster, Vm
from ..moving.room import mover
from ..placing.advice import help_for
from ..placing.batch import place_batch
from ..placing.remedies import remedies
from ..placing.way import Advice
from ..proof import Impossible, NotProven, Proof, Verdict
from ..scheduler import Scheduler, prover_for
from ..state import State
from ..words import at_least
from .inputs import Loaded, add_cluster, add_vms, given_vms, write_file, write_proof
from .outcome import DONE, NO, InputError, Outcome, listed, paragraphs, table
from .redundancy import verdict_data, verdict_text

_EXACT = 12
"""With more lines than that, hosts whose figures alone differ are put together; JSON has all."""
_KINDS = 5
"""Kinds of refused virtual machines for which it is looked for what would help."""
_WAYS = 3
"""Ways of one advice that are tried with the proof."""
Answers = dict[str, Placement | NoPlacement]


def add_verbs(verbs: Any, *, epilog: str) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "place",
        help="where virtual machines go, or why nowhere",
        description="Place the virtual machines of the file that have no host; or, if any are"
        " given as arguments, those. With redundancy, only so that it is kept.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_cluster(parser)
    add_vms(parser)
    parser.add_argument("--proof", metavar="FILE", help="write the proof of N+k as JSON")
    parser.add_argument("--write", metavar="FILE", help="write the cluster with what was placed")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, loaded: Loaded) -> Outcome:
    """Place virtual machines, several of them together."""
    cluster = loaded.cluster
    wanted = given_vms(options, loaded, name="new")
    if not wanted:
        wanted = tuple(vm for vm in cluster.vms if vm.host is None)
    if options.proof and not cluster.redundancy.failures:
        raise InputError("--proof: the cluster is to survive no loss: give --failures 1 or more")
    state, verdict, answers = _place(cluster, wanted)
    if options.proof and isinstance(verdict, Proof):
        write_proof(options.proof, verdict)
    if options.write:
        write_file(options.write, _after(cluster, wanted, answers), overhead=loaded.overhead)
    refused = [vm for vm in wanted if isinstance(answers[vm.name], NoPlacement)]
    helps = _all_helps(state, refused, answers)
    unproven = bool(options.proof) and not isinstance(verdict, Proof)
    return Outcome(
        NO if refused or unproven else DONE,
        paragraphs(
            _placements(wanted, answers),
            *_whys(refused, answers, helps),
            verdict_text(cluster, verdict),
        ),
        {
            "placements": {
                name: answer.host
                for name, answer in answers.items()
                if isinstance(answer, Placement)
            },
            "refused": [_refused(vm, answers[vm.name], helps[vm.name]) for vm in refused],
            "redundancy": verdict_data(cluster, verdict),
        },
    )


def _place(cluster: Cluster, vms: Sequence[Vm]) -> tuple[State, Verdict, Answers]:
    """Place one virtual machine, or several together; return what is then, and the answers."""
    if len(vms) == 1:
        scheduler = Scheduler(cluster)
        answers: Answers = {vms[0].name: scheduler.admit(vms[0])}
        return scheduler.state, scheduler.verdict(), answers
    state = State(cluster)
    prover = prover_for(state)
    batch = place_batch(state, vms, prover=prover, keep=True)
    if not batch.complete:  # of an incomplete one nothing was kept
        named = {vm.name: vm for vm in vms}
        for name, host in batch.placements.items():
            if prover.admit(named[name], state.index[host]) is not None:
                prover.add(named[name], state.index[host])
    placed = {name: Placement(host) for name, host in batch.placements.items()}
    return state, prover.verdict(), {**placed, **batch.refused}


def _after(cluster: Cluster, wanted: Sequence[Vm], answers: Answers) -> Cluster:
    """Return the cluster with the virtual machines that were asked for, where they were placed."""
    names = {vm.name for vm in wanted}
    hosts = {n: answer.host for n, answer in answers.items() if isinstance(answer, Placement)}
    placed = (replace(vm, host=hosts.get(vm.name)) for vm in wanted)
    rest = (vm for vm in cluster.vms if vm.name not in names)
    return replace(cluster, vms=(*rest, *placed))


def _all_helps(
    state: State, refused: Sequence[Vm], answers: Answers
) -> dict[str, tuple[Advice, ...]]:
    """Return what would help each; it is looked for once for those that are alike."""
    known: list[tuple[Vm, tuple[Advice, ...]]] = []
    helps = {}
    for vm in refused:
        kind = replace(vm, name="")
        found = next((advices for other, advices in known if other == kind), None)
        if found is None:
            found = tuple(_helps(state, vm, answers[vm.name])) if len(known) < _KINDS else ()
            known.append((kind, found))
        helps[vm.name] = found
    return helps


def _helps(state: State, vm: Vm, answer: Placement | NoPlacement) -> Iterator[Advice]:
    """Yield what would help, as far as it keeps the redundancy too."""
    vms = (replace(v, host=state.hosts[state.host_of(n)].name) for n, v in state.vms.items())
    now = Cluster(state.hosts, tuple(vms), state.redundancy)
    for advice in help_for(state, vm, movers=(mover(),)):
        ways = advice.ways[:_WAYS]
        if not state.redundancy.failures or not ways:
            yield advice
            continue
        kept = [w for w in ways if isinstance(Scheduler(w.applied(now)).place(w.vm), Placement)]
        if len(kept) == len(advice.ways):
            yield advice
        elif kept:
            where = listed([way.host.name for way in kept if way.host])
            message = f"{advice.message}; N+{now.redundancy.failures} is kept on {where}"
            yield Advice(message, tuple(kept))
    if state.redundancy.failures and isinstance(answer, NoPlacement):
        yield from remedies(now, vm, answer)


def _placements(wanted: Sequence[Vm], answers: Answers) -> str:
    if not wanted:
        return "every virtual machine has a host: nothing to place"
    rows = []
    for vm in sorted(wanted, key=lambda vm: vm.name):
        answer = answers[vm.name]
        host = answer.host if isinstance(answer, Placement) else None
        rows.append((vm.name, host, vm.needs.cpu, at_least(vm.needs.memory)))
    return table(("VM", "HOST", "CPU", "MEMORY"), rows, right="CPU MEMORY")


def _whys(
    refused: Sequence[Vm], answers: Answers, helps: Mapping[str, Sequence[Advice]]
) -> Iterator[str]:
    """Yield why virtual machines are placed nowhere; those with one answer together."""
    alike: dict[tuple[NoPlacement, tuple[str, ...]], list[str]] = defaultdict(list)
    for vm in refused:
        answer = answers[vm.name]
        if isinstance(answer, NoPlacement):
            advices = tuple(advice.message for advice in helps[vm.name])
            alike[answer.nameless(vm.name), advices].append(vm.name)
    for (answer, _), names in alike.items():
        yield _why(listed(names), answer, helps[names[0]])


def _why(who: str, answer: NoPlacement, helps: Sequence[Advice]) -> str:
    rows = _rows(answer, exact=True)
    if len(rows) > _EXACT:
        rows = _rows(answer, exact=False)
    lines = [f"{who}: {answer.message}"]
    if rows:
        lines += ["", *(f"  {line}" for line in table(("HOSTS", "WHY NOT"), rows).splitlines())]
    if helps:
        lines += ["", "  what would help:", *(f"  - {advice.message}" for advice in helps)]
    return "\n".join(lines)


def _rows(answer: NoPlacement, *, exact: bool) -> list[tuple[str, str]]:
    """Return hosts with what is against them; `exact`: apart where only the figures differ."""
    refusals: dict[str, list[Refusal]] = defaultdict(list)
    for refusal in answer.refusals:
        refusals[refusal.host].append(refusal)
    alike: dict[object, list[str]] = defaultdict(list)
    for host, found in refusals.items():
        alike[tuple(replace(r, host="") if exact else r.reason for r in found)].append(host)
    rows = []
    for hosts in alike.values():
        reasons: dict[str, list[Refusal]] = defaultdict(list)
        for refusal in (refusal for host in hosts for refusal in refusals[host]):
            reasons[refusal.reason].append(refusal)
        words = (_words(group[:1] if exact else group) for group in reasons.values())
        rows.append((listed(hosts, 4), ", ".join(words)))
    return rows


def _words(refusals: Sequence[Refusal]) -> str:
    """Return one reason in the words of `NoPlacement`, without its count."""
    counted = NoPlacement(1, tuple(refusals)).message.split(": ", 1)[1]
    return counted.split(" ", 1)[1]


def _bound(against: NotProven | Impossible | None) -> dict[str, Any]:
    """Return after which loss there is too little of what, as data."""
    if not isinstance(against, Impossible):
        return {}
    short = {"resource": against.resource, "missing": against.missing} if against.resource else {}
    return {"lost": list(against.lost), **short}


def _refused(vm: Vm, answer: Placement | NoPlacement, helps: Sequence[Advice]) -> dict[str, Any]:
    refusals = answer.refusals if isinstance(answer, NoPlacement) else ()
    return {
        "vm": vm.name,
        "message": answer.message if isinstance(answer, NoPlacement) else "",
        "hosts": [
            {
                "host": r.host,
                "reason": r.reason,
                **({} if r.needs is None else {"needs": r.needs, "free": r.free}),
                **({"detail": r.detail} if r.detail else {}),
                **_bound(r.against),
            }
            for r in refusals
        ],
        "help": [advice.message for advice in helps],
    }
