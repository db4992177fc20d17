# SPDX-License-Identifier: Apache-2.0
"""What room would have to be free for a virtual machine, and where; or how large a host to be."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..model import HOST, Host, Room, Vm
from ..state import State
from ..words import amount_of, joined, one_of, quantity
from .way import Advice, Way


def lacks(state: State, vm: Vm) -> Iterator[Advice]:
    """Yield by failure domain what would have to be free on one host, the smallest lack first.

    A host that would not do even if it were empty is left out.

    Args:
        state: Where everything else is.
        vm: One that fits nowhere, of resources that the state knows.
    """
    eligible, needs = state.eligible(vm), state.needs(vm)
    able = eligible & state.rules.allowed(vm, eligible)
    lacking = np.maximum(needs[:, None] - state.free, 0)
    shares = (lacking / state.scale).max(axis=0)
    topology = _topology(state, vm)
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = defaultdict(list)
    for i in sorted(np.flatnonzero(able).tolist(), key=lambda i: float(shares[i])):
        if could_ever(state.hosts[i], vm.needs):
            domain = "" if topology == HOST else state.hosts[i].domain(topology) or ""
            groups[domain, tuple(np.flatnonzero(lacking[:, i]).tolist())].append(i)
    # By how much the best host lacks; one that lacks a second thing is behind all that lack one.
    ordered = sorted(groups.items(), key=lambda item: (len(item[0][1]), shares[item[1][0]]))
    for (domain, rows), hosts in ordered:
        best = state.hosts[hosts[0]].name
        lack = _quantities(state, rows, lacking[:, hosts[0]].tolist())
        least = f"{best} lacks the least: {lack}" if len(hosts) > 1 else f"it lacks {lack}"
        wanted = _quantities(state, rows, needs.tolist())
        where = _where(state, hosts, topology, domain)
        yield Advice(
            f"fits if {wanted} were free on {where} ({least})",
            tuple(Way(vm, _with(state, i, lacking[:, i].tolist())) for i in hosts),
        )


def too_large(state: State, vm: Vm) -> Iterator[Advice]:
    """Yield that it takes a larger host, where no host would do even if it were empty.

    Args:
        state: Where everything else is.
        vm: One of resources that the state knows.
    """
    open_hosts = [replace(host, blocked="", draining=False) for host in state.hosts]
    usable = [host for host in open_hosts if not state.mismatch(vm, host)] or open_hosts
    if not usable or any(could_ever(host, vm.needs) for host in usable):
        return
    of = "a larger host" if len(usable) == len(open_hosts) else "a larger host that it may use"
    there = state.columns(host.free for host in usable)
    most: list[int] = np.maximum(there.max(axis=1), 0).tolist()
    needs: list[int] = state.columns((vm.needs,))[:, 0].tolist()
    beyond = [
        f"{amount_of(name, need)} ({_largest(name, has)})"
        for name, need, has in zip(state.resources, needs, most, strict=True)
        if need > has
    ]
    if not beyond:  # each of them somewhere, but not all on one
        rows = [r for r, need in enumerate(needs) if need]
        beyond = [f"{_quantities(state, rows, needs)} at once"]
    yield Advice(f"{of}, with {joined(beyond)}")


def _largest(resource: str, count: int) -> str:
    if not count:
        return "none has any"
    return f"the largest has {quantity(resource, count, up=False)}"


def _topology(state: State, vm: Vm) -> str:
    """Return by what hosts are told apart: what fails as a whole, else what its rules are over."""
    wanted = (state.redundancy.topology, *(rule.topology for rule in vm.rules))
    return next((topology for topology in wanted if topology != HOST), HOST)


def could_ever(host: Host, needs: Room) -> bool:
    """Tell whether a host would have room if no virtual machine were there."""
    left = host.free - needs
    return min(left.cpu, left.memory, *left.more.values()) >= 0


def _where(state: State, hosts: Sequence[int], topology: str, domain: str) -> str:
    every = sum(not domain or host.domain(topology) == domain for host in state.hosts)
    rest = f" of {topology} {domain}" if domain else ""
    if len(hosts) == every > 1:
        return f"any host{rest}"
    return one_of([state.hosts[i].name for i in hosts]) + rest


def _quantities(state: State, rows: Sequence[int], amounts: Sequence[int]) -> str:
    return joined([amount_of(state.resources[r], amounts[r]) for r in rows])


def _with(state: State, host: int, more: Sequence[int]) -> Host:
    there = state.hosts[host]
    room = Room(more[0], more[1], dict(zip(state.resources[2:], more[2:], strict=True)))
    return replace(there, allocated=there.allocated - room)
