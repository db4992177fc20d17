# SPDX-License-Identifier: Apache-2.0
"""Settings of the node daemon, read from its environment."""

from dataclasses import dataclass

from nopal_runtime.settings import setting

from .storage.limits import GIB, ImportLimits


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings; times are seconds. KUBECONFIG is read besides; without it the pod's account."""

    node_name: str = setting("NOPAL_NODE_NAME")
    """Name of this Kubernetes node."""
    libvirt_uri: str = setting("NOPAL_LIBVIRT_URI", "qemu:///system")
    """The host's libvirt."""
    acceleration: str = setting("NOPAL_ACCELERATION", "Auto")
    """Auto probes KVM; KVM and Emulation do without the probe."""
    lease_renew_seconds: float = setting("NOPAL_LEASE_RENEW_SECONDS", 5.0, minimum=0.1)
    """How often this host's Lease is renewed."""
    lease_seconds: float = setting("NOPAL_LEASE_SECONDS", 15.0, minimum=0.5)
    """No guest is started without a Lease that was renewed within this time."""
    resync_seconds: float = setting("NOPAL_RESYNC_SECONDS", 300.0, minimum=1)
    """How often everything is listed again."""
    poll_seconds: float = setting("NOPAL_POLL_SECONDS", 30.0, minimum=0.5)
    """How often the host itself is looked at: domains, bridges, preflight."""
    restart_backoff_seconds: float = setting("NOPAL_RESTART_BACKOFF_SECONDS", 10.0, minimum=0)
    """Pause before the second restart in a row of a guest; doubles up to 300."""
    orphan_wait_seconds: float = setting("NOPAL_ORPHAN_WAIT_SECONDS", 60.0, minimum=1)
    """Time between the two reads that must both miss a VM before its domain is removed."""
    retry_limit_seconds: float = setting("NOPAL_RETRY_LIMIT_SECONDS", 60.0, minimum=1)
    """The longest pause between two tries of what failed."""
    ceph_operation_seconds: int = setting("NOPAL_CEPH_OPERATION_SECONDS", 60, minimum=1)
    """How long one operation on Ceph may take before the pool counts as unreachable. Above the
    25 s that Ceph needs to notice a dead OSD, or each such loss would be an error."""
    trash_delay_seconds: int = setting("NOPAL_TRASH_DELAY_SECONDS", 86400, minimum=0)
    """How long a deleted disk stays in the RBD trash."""
    import_download_gib: int = setting("NOPAL_IMPORT_DOWNLOAD_GIB", 64, minimum=1)
    """The largest file of an Image that is downloaded."""
    import_virtual_gib: int = setting("NOPAL_IMPORT_VIRTUAL_GIB", 2048, minimum=1)
    """The largest disk that an Image may hold."""
    import_download_seconds: float = setting("NOPAL_IMPORT_DOWNLOAD_SECONDS", 21600.0, minimum=1)
    """How long the download of an Image may take."""
    import_convert_seconds: float = setting("NOPAL_IMPORT_CONVERT_SECONDS", 3600.0, minimum=1)
    """How long the conversion of a qcow2 Image to raw may take."""
    health_port: int = setting("NOPAL_HEALTH_PORT", 0)
    """Port of /healthz and /metrics; 0 serves none."""
    log_level: str = setting("NOPAL_LOG_LEVEL", "INFO")
    """DEBUG, INFO, WARNING or ERROR."""

    def import_limits(self) -> ImportLimits:
        """Return the bounds of imports."""
        return ImportLimits(
            max_download=self.import_download_gib * GIB,
            max_virtual_size=self.import_virtual_gib * GIB,
            download_seconds=self.import_download_seconds,
            convert_seconds=self.import_convert_seconds,
        )
