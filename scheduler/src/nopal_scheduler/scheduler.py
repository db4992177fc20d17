# SPDX-License-Identifier: Apache-2.0
"""The one door of the package: a cluster that is asked where a virtual machine goes."""

from collections.abc import Sequence

from .answer import NoPlacement, Placement
from .model import Cluster, Vm
from .placing.explain import not_admitted, not_asked
from .placing.place import no_placement, place, ranking
from .proof import NotProven, Proof, Verdict
from .proving.backups.prover import BackupProver
from .proving.cases.prover import CaseProver, count_cases
from .proving.prover import Prover
from .proving.unproven import PlainProver
from .state import State

CASES = 2_500
"""Losses that are searched one by one: N+2 up to 70 failure domains, N+3 up to 24. Zones with more
are proven by backup lists, which need no enumeration and keep rules of every kind, but fill a zone
to 0.88 to 0.95 of what packings could: see docs/scheduler.md."""
_TRIES = 8
"""Hosts that one placement asks the prover about, the best ones first; the answer says how many
more there are."""
_MISSED = 2
"""The same for one that others wait for where nothing is proven: all their losses are searched."""


class Scheduler:
    """A cluster, the proof that it survives k losses, and the placements that keep it.

    Not safe for use from several threads. Same cluster, same calls: same answers.

    Args:
        cluster: What is there. Virtual machines that have a host keep it, whatever the rules and
            the proof say of it.
        like: A scheduler of about the same cluster, to begin the search for a proof from. In a
            nearly full zone one that was kept up to date may be proven where a search from nothing
            finds no proof.
    """

    def __init__(self, cluster: Cluster, *, like: "Scheduler | None" = None) -> None:
        self.state = State(cluster)
        """Read it; change it by this class alone."""
        self._prover: Prover = prover_for(self.state, like=None if like is None else like._prover)

    def place(self, vm: Vm) -> Placement | NoPlacement:
        """Return where a virtual machine would go, or why nowhere; nothing is added.

        Raises:
            ValueError: there is a virtual machine of that name.
        """
        if not self.state.redundancy.failures:
            return place(self.state, vm)
        answer = self.admit(vm)
        if isinstance(answer, Placement):
            self.remove(vm.name)
        return answer

    def admit(self, vm: Vm) -> Placement | NoPlacement:
        """Add a virtual machine on the best host that keeps the cluster's redundancy.

        Where nothing is proven, on the best one with which all is: one that others must be near to
        was stopped, and is to come back.

        Returns:
            The host that it is on now; or why it is on none, and nothing has changed.

        Raises:
            ValueError: there is a virtual machine of that name.
        """
        refused = []
        candidates, is_missed = self._candidates(vm), self._is_missed(vm)
        for tried, host in enumerate(candidates[:_TRIES]):
            why = self._prover.admit(vm, host)
            hopes = is_missed and tried < _MISSED
            if why is None or (hopes and self._makes_whole(vm, host)):
                return Placement(self.state.hosts[host].name)
            refused.append(not_admitted(self.state, host, why))
        refused += (not_asked(self.state, host) for host in candidates[_TRIES:])
        return no_placement(self.state, vm, refused)

    def add(self, vm: Vm, host: str) -> None:
        """Add a virtual machine that is on a host already, whatever follows for the proof.

        Raises:
            KeyError: there is no such host.
            ValueError: there is a virtual machine of that name.
        """
        self._prover.add(vm, self.state.index[host])

    def remove(self, name: str) -> None:
        """Take a virtual machine away; raises KeyError."""
        self._prover.remove(name)

    @property
    def is_proven(self) -> bool:
        """Tell whether the whole is proven, without writing the proof down."""
        return self._prover.is_proven

    def verdict(self) -> Verdict:
        """Return the proof that the cluster survives k losses, or what stands against it."""
        return self._prover.verdict()

    def proof(self) -> Proof | None:
        """Return the proof; None if there is none."""
        verdict = self.verdict()
        return verdict if isinstance(verdict, Proof) else None

    def _is_missed(self, vm: Vm) -> bool:
        """Tell whether what has no place after a loss may have one with this virtual machine."""
        if self._prover.is_proven:
            return False
        verdict = self._prover.verdict()
        unplaced = verdict.unplaced if isinstance(verdict, NotProven) else ()
        rules = (rule for name in unplaced for rule in self.state.vms[name].rules)
        return any(rule.counts_on(vm.labels) for rule in rules)

    def _makes_whole(self, vm: Vm, host: int) -> bool:
        """Add a virtual machine if all is proven with it; tell whether it is there now."""
        self._prover.add(vm, host)
        if self._prover.is_proven:
            return True
        self._prover.remove(vm.name)
        return False

    def _candidates(self, vm: Vm) -> Sequence[int]:
        """Return the hosts to ask for, best first; those with room in every loss before others."""
        # Lists park what may arrive on few hosts: they are not the emptiest for anybody else.
        held = self._prover.held if isinstance(self._prover, BackupProver) else None
        order = list(ranking(self.state, vm, held=held))
        if isinstance(self._prover, CaseProver | BackupProver) and order:
            roomy = self._prover.headroom(vm)
            order = [h for h in order if roomy[h]] + [h for h in order if not roomy[h]]
        return order


def prover_for(state: State, *, like: Prover | None = None) -> Prover:
    """Return the prover that fits the size of a cluster and the losses that it is to survive.

    Args:
        state: The cluster.
        like: A prover to begin the search from, if it is of the same kind.
    """
    failures = state.redundancy.failures
    if not failures:
        return PlainProver(state)
    if count_cases(len(state.lost_with), failures) <= CASES:
        return CaseProver(state, like if isinstance(like, CaseProver) else None)
    return BackupProver(state, like if isinstance(like, BackupProver) else None)
