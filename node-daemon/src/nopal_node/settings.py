# SPDX-License-Identifier: Apache-2.0
"""Settings of the node daemon, read from NOPAL_* environment variables."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings; times are seconds."""

    node_name: str = field(metadata={"env": "NOPAL_NODE_NAME"})
    """Name of this Kubernetes node."""
    kubeconfig: str = field(default="", metadata={"env": "KUBECONFIG"})
    """Empty: the pod's service account."""
    libvirt_uri: str = field(default="qemu:///system", metadata={"env": "NOPAL_LIBVIRT_URI"})
    """The host's libvirt."""
    acceleration: str = field(default="Auto", metadata={"env": "NOPAL_ACCELERATION"})
    """Auto probes KVM; KVM and Emulation do without the probe."""
    lease_renew_seconds: float = field(default=5.0, metadata={"env": "NOPAL_LEASE_RENEW_SECONDS"})
    lease_seconds: float = field(default=15.0, metadata={"env": "NOPAL_LEASE_SECONDS"})
    """No guest is started without a Lease that was renewed within this time."""
    resync_seconds: float = field(default=300.0, metadata={"env": "NOPAL_RESYNC_SECONDS"})
    """How often everything is listed again."""
    poll_seconds: float = field(default=30.0, metadata={"env": "NOPAL_POLL_SECONDS"})
    """How often the host itself is looked at: domains, bridges, preflight."""
    restart_backoff_seconds: float = field(
        default=10.0, metadata={"env": "NOPAL_RESTART_BACKOFF_SECONDS"}
    )
    """Pause before the second restart in a row of a guest; doubles up to 300."""
    orphan_wait_seconds: float = field(default=60.0, metadata={"env": "NOPAL_ORPHAN_WAIT_SECONDS"})
    """Time between the two reads that must both miss a VM before its domain is removed."""
    retry_limit_seconds: float = field(default=60.0, metadata={"env": "NOPAL_RETRY_LIMIT_SECONDS"})
    """The longest pause between two tries of what failed."""
    trash_delay_seconds: float = field(
        default=86400.0, metadata={"env": "NOPAL_TRASH_DELAY_SECONDS"}
    )
    """How long a deleted disk stays in the RBD trash."""
    health_port: int = field(default=0, metadata={"env": "NOPAL_HEALTH_PORT"})
    """Port of /healthz and /metrics; 0 serves none."""
    log_level: str = field(default="INFO", metadata={"env": "NOPAL_LOG_LEVEL"})
