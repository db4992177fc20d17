# SPDX-License-Identifier: Apache-2.0
"""The VMs of this host: look, plan, act, tell. One pass for one VM at a time."""

from nopal_api.kinds import VIRTUAL_MACHINE
from nopal_api.names import MANAGER_NODE
from nopal_api.virtualmachine import LastExit, VirtualMachine
from nopal_runtime.errors import ConflictError, NopalError, TransientError
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import Record

from .guest_steps import GuestSteps
from .host_state import HostState
from .hypervisor.base import Domain, Exit
from .reconcile import steps as do
from .reconcile.memory import VmMemory
from .reconcile.virtual_machine import (
    ELSEWHERE,
    STOPPING,
    UNKNOWN,
    Plan,
    Seen,
    VmView,
    exit_of,
    plan,
)
from .reconcile.vm_status import vm_status

MAX_ROUNDS = 10
"""Plans in one pass: more means that two rules fight."""
UNREACHABLE_GRACE_SECONDS = 10.0
"""libvirt may restart without a word in any status; guests do not notice it either."""


def view_of(record: Record) -> VmView:
    """Return the VM as the plans take it."""
    model = record.model(VirtualMachine)
    return VmView(
        namespace=record.namespace,
        name=record.name,
        uid=record.uid,
        generation=record.generation,
        deleting=record.deleting,
        spec=model.spec,
        status=model.status,
    )


class VirtualMachines:
    """Reconciles the VMs that are, or were, assigned to this host."""

    def __init__(self, state: HostState) -> None:
        self._state = state
        self._memory: dict[str, VmMemory] = {}
        self._unreachable_since: float | None = None

    async def reconcile(self, key: Key) -> float | None:
        """Bring one VM nearer to what is wanted; return the seconds until the next look.

        Raises NopalError after the status tells it, so that the queue tries again with back-off.
        """
        state = self._state
        record = state.cache.get(key)
        if record is None:
            record = await state.read(VIRTUAL_MACHINE, namespace=key.namespace, name=key.name)
            state.cache.forget_left(key)
            if record is None:
                self._forget_gone()
                return None  # a domain that is left over is the orphan rule's
        for _ in range(MAX_ROUNDS):
            try:
                return await self._round(record)
            except _AgainError:
                continue
            except ConflictError as error:
                if error.reason not in ("AssignmentChanged", "Conflict"):
                    raise
                fresh = await state.read(VIRTUAL_MACHINE, namespace=key.namespace, name=key.name)
                if fresh is None:
                    return None
                record = fresh
        raise TransientError("NotSettling", f"{key} did not settle in {MAX_ROUNDS} rounds")

    def _forget_gone(self) -> None:
        find = self._state.cache.find_uid
        for uid in [u for u in self._memory if find(VIRTUAL_MACHINE, u) is None]:
            del self._memory[uid]

    async def _round(self, record: Record) -> float | None:
        view = view_of(record)
        seen = await self._look(record, view)
        made = plan(view, seen)
        problem: NopalError | None = None
        steps = GuestSteps(self._state, view)
        # Held so that nobody takes a guest that is about to start for absent.
        async with self._state.vm_locks[view.uid]:
            for step in made.steps:
                try:
                    await steps.run(step)
                except ConflictError as error:
                    if error.reason == "AssignmentChanged":
                        raise
                    problem = error
                except NopalError as error:
                    problem = error
                if problem is not None:
                    break
                self._note(view, step)
        if problem is None and made.steps and made.wait == 0:
            raise _AgainError
        await self._tell(record, view, seen, made, problem)
        if made.phase == ELSEWHERE:
            self._memory.pop(view.uid, None)
        if problem is not None:
            raise problem
        return made.wait

    async def _look(self, record: Record, view: VmView) -> Seen:
        try:
            domain, last_exit = await self._state.threads.run(self._ask, view.uid)
        except NopalError as error:
            await self._tell_unknown(record, view, error)
            raise
        self._unreachable_since = None
        state, assignment = self._state, view.status.assignment
        memory = self._memory.get(view.uid, VmMemory())
        if assignment is not None:
            memory = memory.at_epoch(assignment.epoch, view.status)
        now, time = state.clock(), state.wall()

        def with_memory(memory: VmMemory) -> Seen:
            return Seen(
                node_name=state.settings.node_name,
                domain=domain,
                last_exit=last_exit,
                memory=memory,
                now=now,
                time=time,
                backoff_base=state.settings.restart_backoff_seconds,
            )

        seen = with_memory(memory)
        wanted = view.spec.power_state == "Running" and not view.deleting
        if domain is not None and wanted:
            memory = memory.is_wanted_running()
        if assignment is not None and domain is None and wanted:
            reason = exit_of(view, seen)
            if reason is not None:
                memory = memory.saw_exit(LastExit(reason=reason, time=time), now=now)
        self._memory[view.uid] = memory
        return with_memory(memory)

    def _ask(self, uid: str) -> tuple[Domain | None, Exit | None]:
        domain = self._state.hypervisor.domain(uid)
        return domain, (None if domain is not None else self._state.hypervisor.last_exit(uid))

    def _note(self, view: VmView, step: do.Step) -> None:
        """Remember what was just done."""
        memory, now = self._memory[view.uid], self._state.clock()
        match step:
            case do.StartDomain():
                self._memory[view.uid] = memory.was_started(now=now)
            case do.ShutDownDomain():
                self._memory[view.uid] = memory.was_asked_to_stop(now=now)
            case do.ResumeDomain():
                self._memory[view.uid] = memory.was_resumed(now=now)
            case _:
                pass

    async def _tell(
        self,
        record: Record,
        view: VmView,
        seen: Seen,
        made: Plan,
        problem: NopalError | None,
    ) -> None:
        if not made.report and problem is None:
            return
        if made.steps:
            seen = await self._look(record, view)
            if made.phase == STOPPING and seen.domain is None:
                raise _AgainError  # it went while we looked: that is all there is to tell
        status = vm_status(view, seen, made, problem=problem)
        if status is not None:
            await self._state.writer.write(record, manager=MANAGER_NODE, status=status)

    async def _tell_unknown(self, record: Record, view: VmView, error: NopalError) -> None:
        """Say that nothing is known of the guest; a short restart of libvirt is no news."""
        now, assignment = self._state.clock(), view.status.assignment
        if assignment is None or (view.status.released_epoch or 0) >= assignment.epoch:
            return  # what was released is known not to run here
        if error.reason == "HypervisorUnreachable":
            if self._unreachable_since is None:
                self._unreachable_since = now
            if now - self._unreachable_since < UNREACHABLE_GRACE_SECONDS:
                return
        seen = Seen(
            node_name=self._state.settings.node_name,
            domain=None,
            last_exit=None,
            memory=self._memory.get(view.uid, VmMemory()).at_epoch(assignment.epoch, view.status),
            now=now,
            time=self._state.wall(),
            backoff_base=0.0,
        )
        status = vm_status(view, seen, Plan(UNKNOWN), problem=error)
        if status is not None:
            await self._state.writer.write(record, manager=MANAGER_NODE, status=status)


class _AgainError(Exception):
    """The steps are done: look and plan again."""
