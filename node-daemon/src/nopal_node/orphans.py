# SPDX-License-Identifier: Apache-2.0
"""Domains that no VirtualMachine wants any more: found, judged, removed or held."""

import structlog

from nopal_api.kinds import HOST, NAMESPACE, VIRTUAL_MACHINE
from nopal_api.names import seed_image
from nopal_runtime.errors import NopalError
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import key_of

from .host_state import HostState
from .hypervisor.base import Domain
from .reconcile.orphans import OrphanView, Verdict, judge

log = structlog.get_logger("nopal.orphans")


class Orphans:
    """Looks for orphan domains; never acts on a cache, nor on a read that failed."""

    def __init__(self, state: HostState) -> None:
        self._state = state
        self._first_seen: dict[str, float] = {}
        self.verdict = Verdict()
        """What the last look found; the Host's condition OrphansHeld tells it."""

    async def look(self) -> None:
        """Look once. Raises NopalError if anything could not be read: then nothing is removed."""
        state = self._state
        domains = await state.threads.run(state.hypervisor.domains)
        unknown = set()
        for uid, domain in domains.items():
            if state.cache.find_uid(VIRTUAL_MACHINE, uid) is not None:
                continue
            key = await self._find(uid, domain)
            if key is None:
                unknown.add(uid)
            else:
                # It is assigned elsewhere, or the watch is late: its own reconcile decides.
                state.mark(key, 0.0)
        if not unknown:
            self._first_seen, self.verdict = {}, Verdict()
            return
        cluster = await state.read(NAMESPACE, namespace="", name="kube-system")
        host = await state.read(HOST, namespace="", name=state.settings.node_name)
        view = OrphanView(
            domains=domains,
            unknown=frozenset(unknown),
            cluster_uid=cluster.uid if cluster else "",
            host_uid=host.uid if host else "",
            now=state.clock(),
        )
        self.verdict = judge(view, self._first_seen, wait=state.settings.orphan_wait_seconds)
        self._first_seen = dict(self.verdict.first_seen)
        for uid in self.verdict.remove:
            log.warning("orphan domain removed", vm_uid=uid)
            await self._remove(uid)

    async def _find(self, uid: str, domain: Domain) -> Key | None:
        """Return the VM with that UID as a fresh read knows it."""
        owner = domain.ownership
        if owner.name:
            vm = await self._state.read(VIRTUAL_MACHINE, namespace=owner.namespace, name=owner.name)
            return vm.key if vm is not None and vm.uid == uid else None
        # The hypervisor has lost it, and its name with it.
        listing = await self._state.kube.list(VIRTUAL_MACHINE)
        found = (b for b in listing.items if b["metadata"]["uid"] == uid)
        return next((key_of(VIRTUAL_MACHINE, body) for body in found), None)

    async def _remove(self, uid: str) -> None:
        state = self._state
        async with state.vm_locks[uid]:
            await state.threads.run(state.hypervisor.destroy, uid)
            await state.threads.run(state.hypervisor.forget, uid)
        self._first_seen.pop(uid, None)
        for name in state.pools.names():
            try:
                pool = (await state.pools.named(name)).storage
                await state.threads.run(pool.remove_seed, seed_image(uid), owner_uid=uid)
            except NopalError as error:
                log.warning("seed of an orphan is left", vm_uid=uid, pool=name, why=str(error))
