# SPDX-License-Identifier: Apache-2.0
"""The effects of a VM's plan: each step of reconcile/steps.py done on the real host."""

import base64
from dataclasses import dataclass

from nopal_api.disk import Disk
from nopal_api.kinds import DISK, SECRET, VIRTUAL_MACHINE
from nopal_api.names import seed_image
from nopal_api.shared import Parent
from nopal_api.virtualmachine import (
    AssignedDisk,
    AssignedInterface,
    Assignment,
    SecretKeyRef,
    VirtualMachine,
)
from nopal_runtime.errors import ConflictError, NotFoundError, TerminalError, TransientError
from nopal_runtime.kube.api import Key
from nopal_runtime.kube.cache import Record

from .host_state import HostState
from .hypervisor.base import BridgeInterface, DomainSpec, Ownership, RbdDisk
from .pools import Connected
from .reconcile import steps as do
from .reconcile.virtual_machine import VmView
from .storage.base import DiskImage, ImageInfo, ImageParent
from .storage.nocloud import NoCloudSeed

SEED_SERIAL = "cidata"


def image_parent(parent: Parent | None) -> ImageParent | None:
    """Return the snapshot to clone from as the storage takes it."""
    if parent is None:
        return None
    at = parent.location
    return ImageParent(
        pool=at.pool, namespace=at.namespace, image=at.image, snapshot=parent.snapshot
    )


@dataclass(frozen=True, slots=True)
class GuestSteps:
    """Carries out the steps of one VM's plan.

    Every step raises a NopalError that a condition can show, and may be repeated.
    """

    state: HostState
    view: VmView

    @property
    def _assignment(self) -> Assignment:
        assignment = self.view.status.assignment
        if assignment is None:
            raise ConflictError("AssignmentChanged", "the assignment is gone")
        return assignment

    async def run(self, step: do.Step) -> None:
        """Carry out one step."""
        state, uid = self.state, self.view.uid
        match step:
            case do.ConfirmAssignment():
                await self._confirm()
            case do.RequireBridge(interface):
                await self._require_bridge(interface)
            case do.EnsureDisk(disk):
                await self._ensure_disk(disk)
            case do.FenceDeadGuest(disk):
                pool = (await state.pools.at(disk.location)).storage
                own = await state.threads.run(pool.addresses)
                image = disk.location.image
                await state.threads.run(pool.break_dead_locks, image, own_addresses=own)
            case do.RefuseWatchers(disk):
                await self._refuse_watchers(disk)
            case do.ConfirmDisk(disk):
                await self._confirm_disk(disk)
            case do.ClaimEpoch(disk):
                pool = (await state.pools.at(disk.location)).storage
                await state.threads.run(
                    pool.claim_epoch,
                    disk.location.image,
                    owner_uid=disk.uid,
                    epoch=self._assignment.epoch,
                )
            case do.WriteSeed():
                await self._write_seed()
            case do.StartDomain():
                domain = await self._domain()
                async with state.start_slots:
                    await self._confirm()
                    await state.threads.run(state.hypervisor.start, domain)
            case do.ShutDownDomain():
                await state.threads.run(state.hypervisor.shutdown, uid)
            case do.DestroyDomain():
                await state.threads.run(state.hypervisor.destroy, uid)
            case do.ResumeDomain():
                await state.threads.run(state.hypervisor.resume, uid)
            case do.ForgetDomain():
                await state.threads.run(state.hypervisor.forget, uid)
            case do.RemoveSeed():
                await self._remove_seed()

    async def _confirm(self) -> None:
        """Ask kube-apiserver itself whether this VM is to be started here, at this epoch, now."""
        view, epoch = self.view, self._assignment.epoch
        if not self.state.lease_fresh():
            raise TransientError(
                "LeaseNotFresh",
                "this host's Lease was not renewed in time, so it starts no guest: see that it"
                " reaches kube-apiserver",
            )
        if not self.state.registered.host_uid:
            raise TransientError("NotRegistered", "this host's Host object is not made yet")
        record = await self.state.read(VIRTUAL_MACHINE, namespace=view.namespace, name=view.name)
        fresh = record.model(VirtualMachine) if record is not None else None
        current = fresh.status.assignment if fresh is not None else None
        if (
            record is None
            or fresh is None
            or current is None
            or record.uid != view.uid
            or record.deleting
            or current.node_name != self.state.settings.node_name
            or current.epoch != epoch
            or fresh.spec.power_state != "Running"
            or (fresh.status.released_epoch or 0) >= epoch
        ):
            raise ConflictError(
                "AssignmentChanged", "kube-apiserver no longer wants this VM to start here"
            )

    async def _require_bridge(self, interface: AssignedInterface) -> None:
        found = await self.state.threads.run(self.state.network.bridge, interface.bridge)
        if found is None:
            raise TransientError(
                "NetworkNotRealized",
                f"bridge {interface.bridge} of Network {interface.network} is not on this host:"
                f" see status.networks of Host {self.state.settings.node_name}",
            )

    async def _ensure_disk(self, disk: AssignedDisk) -> None:
        namespace = self.view.namespace
        record = self.state.cache.get(Key(DISK.kind, namespace, disk.disk_name))
        if record is None:
            record = await self.state.read(DISK, namespace=namespace, name=disk.disk_name)
        if record is None or record.uid != disk.uid:
            raise TransientError(
                "DiskNotFound",
                f"Disk {disk.disk_name} that was claimed is gone: the data of its image"
                f" {disk.location.image} is not touched",
            )
        if not self._is_claimed(record):
            record = await self.state.read(DISK, namespace=namespace, name=disk.disk_name)
            if record is None or not self._is_claimed(record):
                raise self._not_claimed(disk)
        image = DiskImage(
            image=disk.location.image,
            size=disk.size,
            owner_uid=disk.uid,
            parent=image_parent(disk.parent),
            made=record.model(Disk).status.size is not None,
        )
        await ensure_image(self.state, await self.state.pools.at(disk.location), image)

    def _is_claimed(self, disk: Record) -> bool:
        claim = disk.model(Disk).status.claim
        own = (self.view.uid, self._assignment.node_name, self._assignment.epoch)
        return claim is not None and (claim.vm_uid, claim.node_name, claim.epoch) == own

    async def _refuse_watchers(self, disk: AssignedDisk) -> None:
        pool = (await self.state.pools.at(disk.location)).storage
        run, image = self.state.threads.run, disk.location.image
        watchers = await run(pool.watchers, image)
        own = await run(pool.addresses) if watchers else ()
        if any(watcher.address in own for watcher in watchers):
            # It may be what is left of a guest of this host that died: that is known at once.
            await run(pool.break_dead_locks, image, own_addresses=own)
            watchers = await run(pool.watchers, image)
        for watcher in watchers:
            raise TransientError(
                "ForeignWatcher",
                f"{watcher.client} at {watcher.address} has Disk {disk.disk_name} (image"
                f" {image}) open, so the guest is not started: end that client; one that died"
                " is forgotten after 30 s",
            )

    async def _confirm_disk(self, disk: AssignedDisk) -> None:
        """See that the disk is still this assignment's: the claim, and the epoch in the image."""
        record = await self.state.read(DISK, namespace=self.view.namespace, name=disk.disk_name)
        if record is None or record.uid != disk.uid or not self._is_claimed(record):
            raise self._not_claimed(disk)
        pool = (await self.state.pools.at(disk.location)).storage
        epoch = await self.state.threads.run(pool.epoch, disk.location.image)
        if epoch != self._assignment.epoch:
            raise TransientError(
                "OwnershipUnclear",
                f"RBD image {disk.location.image} has epoch {epoch or 'none'} and this"
                f" assignment {self._assignment.epoch}: another host may be starting the guest",
            )

    def _not_claimed(self, disk: AssignedDisk) -> TransientError:
        return TransientError(
            "DiskNotClaimed",
            f"Disk {disk.disk_name} is not claimed by this VirtualMachine at epoch"
            f" {self._assignment.epoch}: see status.claim of the Disk",
        )

    async def _seed_pool(self) -> Connected:
        """Return the pool of the seed: the first disk's, so that both live and die together."""
        disks = self._assignment.disks
        pools = self.state.pools
        return await (pools.at(disks[0].location) if disks else pools.default())

    async def _write_seed(self) -> None:
        init = self.view.spec.cloud_init
        if init is None:
            return
        user_data = (init.user_data or "").encode()
        if init.user_data_secret_ref is not None:
            user_data = await self._from_secret(init.user_data_secret_ref)
        seed = NoCloudSeed(
            instance_id=self.view.uid,
            hostname=self.view.name,
            user_data=user_data,
            network_data=init.network_data,
        )
        pool = (await self._seed_pool()).storage
        await self.state.threads.run(
            pool.write_seed,
            seed_image(self.view.uid),
            owner_uid=self.view.uid,
            content=seed.iso(),
        )

    async def _from_secret(self, ref: SecretKeyRef) -> bytes:
        namespace = self.view.namespace
        try:
            secret = await self.state.kube.get(SECRET, namespace=namespace, name=ref.name)
        except NotFoundError as error:
            raise TransientError(
                "SecretNotFound",
                f"Secret {ref.name} that cloudInit.userDataSecretRef names does not exist in"
                f" namespace {namespace}: create it",
            ) from error
        except TerminalError as error:
            raise TransientError(
                "SecretForbidden",
                f"the node daemon may not read Secrets in namespace {namespace}: kubectl create"
                f" rolebinding nopal-node-secrets -n {namespace} --clusterrole nopal-node-secrets"
                " --serviceaccount nopal-system:nopal-node",
            ) from error
        value = (secret.get("data") or {}).get(ref.key)
        if value is None:
            raise TransientError(
                "SecretNotFound", f"Secret {ref.name} has no key {ref.key!r}: add it"
            )
        return base64.b64decode(value)

    async def _remove_seed(self) -> None:
        uid = self.view.uid
        pool = (await self._seed_pool()).storage
        await self.state.threads.run(pool.remove_seed, seed_image(uid), owner_uid=uid)

    async def _domain(self) -> DomainSpec:
        view, assignment = self.view, self._assignment
        disks = [
            _rbd_disk(
                await self.state.pools.at(d.location),
                d.location.image,
                serial=d.name[:20],
                boot_order=d.boot_order,
            )
            for d in assignment.disks
        ]
        if view.spec.cloud_init is not None:
            pool, image = await self._seed_pool(), seed_image(view.uid)
            disks.append(_rbd_disk(pool, image, serial=SEED_SERIAL, read_only=True))
        return DomainSpec(
            ownership=Ownership(
                vm_uid=view.uid,
                epoch=assignment.epoch,
                cluster_uid=self.state.registered.cluster_uid,
                host_uid=self.state.registered.host_uid,
                namespace=view.namespace,
                name=view.name,
            ),
            cores=assignment.cores,
            memory=assignment.memory,
            cpu_features=assignment.cpu_features,
            disks=tuple(disks),
            interfaces=tuple(
                BridgeInterface(bridge=i.bridge, mac=i.mac, mtu=i.mtu)
                for i in assignment.interfaces
            ),
        )


def _rbd_disk(
    pool: Connected,
    image: str,
    *,
    serial: str,
    boot_order: int | None = None,
    read_only: bool = False,
) -> RbdDisk:
    access = pool.access
    return RbdDisk(
        serial=serial,
        pool=access.pool,
        namespace=access.namespace,
        image=image,
        monitors=access.monitors,
        user=access.user,
        key=access.key,
        boot_order=boot_order,
        read_only=read_only,
    )


async def ensure_image(state: HostState, pool: Connected, image: DiskImage) -> ImageInfo:
    """Make a disk's image, or find it: one after the other, for a VM and its Disk ask at once."""
    async with state.image_locks[image.image]:
        return await state.threads.run(pool.storage.ensure_disk, image)
