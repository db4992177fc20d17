# SPDX-License-Identifier: Apache-2.0
"""The Disks whose executor this host is: made, reported, removed."""

from nopal_api.disk import Disk
from nopal_api.kinds import DISK, VIRTUAL_MACHINE
from nopal_api.names import MANAGER_NODE, seed_image
from nopal_api.quantity import whole_mib
from nopal_runtime.errors import NopalError, TransientError
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import Record

from .guest_steps import ensure_image, image_parent
from .host_state import HostState
from .reconcile.disk import DiskView, DiskWork, disk_status, disk_work
from .storage.base import DiskImage


def view_of(record: Record) -> DiskView:
    """Return the Disk as the plans take it."""
    model = record.model(Disk)
    return DiskView(
        namespace=record.namespace,
        name=record.name,
        uid=record.uid,
        generation=record.generation,
        deleting=record.deleting,
        spec=model.spec,
        status=model.status,
    )


class Disks:
    """Reconciles the Disks of this host."""

    def __init__(self, state: HostState) -> None:
        self._state = state

    async def reconcile(self, key: Key) -> float | None:
        """Bring one Disk nearer to what is wanted.

        Raises NopalError after the status tells it, so that the queue tries again with back-off.
        """
        state = self._state
        record = state.cache.get(key)
        if record is None:
            state.cache.forget_left(key)
            return None  # no longer this host's to look after
        view = view_of(record)
        gone = await self._claimer_gone(view)
        work = self._work(view, gone)
        if work not in (DiskWork.NOTHING, DiskWork.REQUIRE):
            # What makes, frees or removes is decided on a fresh read, never on a cache: after a
            # restore of etcd, another content may have a resourceVersion that is known here.
            fresh = await state.read(DISK, namespace=key.namespace, name=key.name)
            if fresh is None or fresh.uid != record.uid:
                return None
            record, claim, view = fresh, view.status.claim, view_of(fresh)
            if view.status.claim != claim:
                gone = await self._claimer_gone(view)
            work = self._work(view, gone)
        size, problem = None, None
        try:
            size = await self._do(view, work)
        except NopalError as error:
            problem = error
        status = disk_status(view, work, size=size, problem=problem)
        if status is not None:
            await state.writer.write(record, manager=MANAGER_NODE, status=status)
        if problem is not None:
            raise problem
        return None

    def _work(self, view: DiskView, claimer_gone: bool) -> DiskWork:
        node = self._state.settings.node_name
        return disk_work(view, node_name=node, claimer_gone=claimer_gone)

    async def _claimer_gone(self, view: DiskView) -> bool:
        """Ask kube-apiserver itself whether the VM that claims the disk is gone."""
        claim = view.status.claim
        if claim is None or claim.node_name != self._state.settings.node_name:
            return False
        if self._state.cache.find_uid(VIRTUAL_MACHINE, claim.vm_uid) is not None:
            return False
        vm = await self._state.read(VIRTUAL_MACHINE, namespace=view.namespace, name=claim.vm_name)
        return vm is None or vm.uid != claim.vm_uid

    async def _do(self, view: DiskView, work: DiskWork) -> int | None:
        """Do the work; return the image's size in bytes if it was seen."""
        location = view.status.location
        if location is None or work in (DiskWork.NOTHING, DiskWork.KEEP):
            return None
        pool = await self._state.pools.at(location)
        match work:
            case DiskWork.ENSURE | DiskWork.REQUIRE:
                image = DiskImage(
                    image=location.image,
                    size=whole_mib(view.spec.size),
                    owner_uid=view.uid,
                    parent=image_parent(view.status.parent),
                    made=work is DiskWork.REQUIRE,
                )
                return (await ensure_image(self._state, pool, image)).size
            case DiskWork.DELETE:
                async with self._state.image_locks[location.image]:
                    await self._state.threads.run(
                        pool.storage.delete, location.image, owner_uid=view.uid
                    )
            case DiskWork.RELEASE_CLAIM:
                await self._see_unused(view)
        return None

    async def _see_unused(self, view: DiskView) -> None:
        """See that no guest of the vanished VM uses the disk any more."""
        claim, location = view.status.claim, view.status.location
        if claim is None or location is None:
            return
        state = self._state
        async with state.vm_locks[claim.vm_uid]:
            # Whoever was starting it is done; whoever starts it from now on reads that it is gone.
            domain = await state.threads.run(state.hypervisor.domain, claim.vm_uid)
        if domain is not None:
            raise TransientError(
                "VirtualMachineGone",
                f"VirtualMachine {claim.vm_name} is gone but its domain still runs on this host:"
                " it is removed once two fresh reads have missed it",
            )
        pool = (await state.pools.at(location)).storage
        watchers = await state.threads.run(pool.watchers, location.image)
        if watchers:
            raise TransientError(
                "ImageInUse",
                f"VirtualMachine {claim.vm_name} is gone but {watchers[0].client} at"
                f" {watchers[0].address} still has the image open",
            )
        # A crash may have kept the orphan rule, or a start, from tidying up behind itself.
        await state.threads.run(state.hypervisor.forget, claim.vm_uid)
        seed = seed_image(claim.vm_uid)
        await state.threads.run(pool.remove_seed, seed, owner_uid=claim.vm_uid)
