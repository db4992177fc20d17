# SPDX-License-Identifier: Apache-2.0
"""The operator's settings, from its environment."""

from dataclasses import dataclass

from nopal_operator.world import Patience
from nopal_runtime.settings import setting


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set; every time is in seconds."""

    namespace: str = setting("NOPAL_NAMESPACE", "nopal-system")
    """Where the operator's own Lease is."""
    identity: str = setting("NOPAL_IDENTITY", "")
    """Begins the operator's name in its Lease; the machine's name if left out."""
    lease_renew_seconds: float = setting("NOPAL_LEASE_RENEW_SECONDS", 5.0, minimum=0.1)
    """How often hosts renew their Leases; the operator looks four times as often."""
    leader_lease_seconds: float = setting("NOPAL_LEADER_LEASE_SECONDS", 15.0, minimum=1.0)
    """How long other operators wait for a silent leader."""
    resync_seconds: float = setting("NOPAL_RESYNC_SECONDS", 300.0, minimum=1.0)
    """Between two complete lists of a kind."""
    executor_patience_seconds: float = setting("NOPAL_EXECUTOR_PATIENCE_SECONDS", 60.0, minimum=0)
    """After which work of a host that is down is given to another one."""
    zone_status_seconds: float = setting("NOPAL_ZONE_STATUS_SECONDS", 10.0, minimum=0)
    """At least between two writes of a zone's figures."""
    workers: int = setting("NOPAL_WORKERS", 16, minimum=1)
    """Objects that are worked on at the same time."""
    health_port: int = setting("NOPAL_HEALTH_PORT", 0, minimum=0)
    """Port of /healthz; 0 for none."""
    metrics_port: int = setting("NOPAL_METRICS_PORT", 0, minimum=0)
    """Port of /metrics; 0 for none."""
    log_level: str = setting("NOPAL_LOG_LEVEL", "INFO")
    """DEBUG, INFO, WARNING or ERROR."""

    @property
    def patience(self) -> Patience:
        """Return how long plans wait."""
        return Patience(
            executor=self.executor_patience_seconds, zone_status=self.zone_status_seconds
        )

    @property
    def heartbeat_seconds(self) -> float:
        """Return the seconds between two looks at the hosts' Leases."""
        return max(0.2, self.lease_renew_seconds / 4)
