# SPDX-License-Identifier: Apache-2.0
"""The domains of a real host: ours, somebody else's, and QEMUs that libvirt has lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nopal_runtime.errors import ConflictError

from . import libvirt_api, qemu_process
from .base import STRAY_EPOCH, Domain, DomainState, Ownership
from .domain_metadata import parse_ownership
from .domain_xml import NAMESPACE, PREFIX, domain_name
from .host_folders import HostFolders
from .qemu_process import QemuProcess

if TYPE_CHECKING:
    import libvirt


class LibvirtDomains:
    """Looks domains up. Every method raises libvirt's errors as they are.

    Args:
        folders: where QEMU's pid files are.
    """

    def __init__(self, folders: HostFolders) -> None:
        self._api = libvirt_api.load()
        self._folders = folders

    def all(self, connection: libvirt.virConnect) -> dict[str, Domain]:
        """Return every domain of ours by VM UID, strays included."""
        # The processes first: one that ends in between is then not taken for a stray.
        processes = self._processes()
        found = {}
        for each in connection.listAllDomains(self._api.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            try:
                domain = self._describe(each)
            except self._api.libvirtError as error:
                if not libvirt_api.is_absent(error):
                    raise
                continue  # it ended in between
            if domain is not None:
                found[domain.ownership.vm_uid] = domain
        for uid, process in processes.items():
            if uid not in found and self._lookup(connection, uid) is None and process.alive:
                found[uid] = _stray(uid, process)
        return found

    def one(self, connection: libvirt.virConnect, vm_uid: str) -> Domain | None:
        """Return one domain, None if it is known to be absent.

        Raises:
            ConflictError: ForeignDomain.
        """
        process = self.process(vm_uid)
        found = self._lookup(connection, vm_uid)
        if found is not None:
            return self._owned(found, vm_uid)
        return _stray(vm_uid, process) if process is not None and process.alive else None

    def handle(self, connection: libvirt.virConnect, vm_uid: str) -> libvirt.virDomain | None:
        """Return libvirt's handle of a running domain of ours, None if libvirt knows of none.

        Raises:
            ConflictError: ForeignDomain.
        """
        found = self._lookup(connection, vm_uid)
        return found if found is not None and self._owned(found, vm_uid) is not None else None

    def is_up(self, connection: libvirt.virConnect, vm_uid: str) -> bool:
        """Tell whether libvirt has the domain, and not only until its QEMU process is gone."""
        found = self._lookup(connection, vm_uid)
        domain = self._owned(found, vm_uid) if found is not None else None
        return domain is not None and domain.state is not DomainState.SHUTTING_DOWN

    def process(self, vm_uid: str) -> QemuProcess | None:
        """Return a domain's QEMU, whatever libvirt knows of it."""
        return qemu_process.find(self._folders.pid_file(domain_name(vm_uid)), vm_uid)

    def _processes(self) -> dict[str, QemuProcess]:
        uids = (path.stem.removeprefix(PREFIX) for path in self._folders.pid_files(PREFIX))
        return {uid: process for uid in uids if (process := self.process(uid)) is not None}

    def _lookup(self, connection: libvirt.virConnect, vm_uid: str) -> libvirt.virDomain | None:
        try:
            return connection.lookupByUUIDString(vm_uid)
        except self._api.libvirtError as error:
            if libvirt_api.is_absent(error):
                return None
            raise

    def _owned(self, found: libvirt.virDomain, vm_uid: str) -> Domain | None:
        """Describe a domain that must be ours; None if it has just gone, or is not running."""
        try:
            domain = self._describe(found)
            if domain is None:
                raise ConflictError(
                    "ForeignDomain",
                    f"a domain with the UUID {vm_uid} ({found.name()}) is not Nopal's: it is left"
                    " alone; remove it, or create the VirtualMachine anew",
                )
            return domain if found.isActive() else None
        except self._api.libvirtError as error:
            if libvirt_api.is_absent(error):
                return None
            raise

    def _describe(self, found: libvirt.virDomain) -> Domain | None:
        """Describe a domain, None if it does not say that it is ours."""
        api = self._api
        try:
            metadata = found.metadata(api.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
        except api.libvirtError as error:
            if error.get_error_code() == api.VIR_ERR_NO_DOMAIN_METADATA:
                return None
            raise
        ownership = parse_ownership(metadata)
        if ownership is None or ownership.vm_uid != found.UUIDString():
            return None  # a copy of one of ours, under a UUID of its own
        state, reason = found.state()
        process = self.process(ownership.vm_uid)
        return Domain(
            ownership=ownership,
            state=self._state(state, reason),
            pid=process.pid if process else None,
            io_error=state == api.VIR_DOMAIN_PAUSED and reason == api.VIR_DOMAIN_PAUSED_IOERROR,
        )

    def _state(self, state: int, reason: int) -> DomainState:
        api = self._api
        if (state, reason) == (api.VIR_DOMAIN_PAUSED, api.VIR_DOMAIN_PAUSED_STARTING_UP):
            return DomainState.STARTING
        if state in (api.VIR_DOMAIN_RUNNING, api.VIR_DOMAIN_BLOCKED):
            return DomainState.RUNNING
        if state in (api.VIR_DOMAIN_SHUTDOWN, api.VIR_DOMAIN_SHUTOFF):
            return DomainState.SHUTTING_DOWN
        return DomainState.PAUSED


def _stray(vm_uid: str, process: QemuProcess) -> Domain:
    nobody = Ownership(
        vm_uid=vm_uid, epoch=STRAY_EPOCH, cluster_uid="", host_uid="", namespace="", name=""
    )
    return Domain(ownership=nobody, state=DomainState.RUNNING, pid=process.pid)
