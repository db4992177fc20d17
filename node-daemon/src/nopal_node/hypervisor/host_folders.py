# SPDX-License-Identifier: Apache-2.0
"""Where libvirt keeps what the daemon reads and removes."""

from dataclasses import dataclass, field
from pathlib import Path

_LOG = Path("/var/log/libvirt")
_SHORT_NAME = 20
"""So much of a domain's name libvirt takes for folders (virDomainDefGetShortName)."""


@dataclass(frozen=True, slots=True)
class HostFolders:
    """libvirt's folders as *this* process sees them; a DaemonSet may mount them elsewhere."""

    run: Path = Path("/run/libvirt")
    log: Path = field(default=_LOG)
    lib: Path = Path("/var/lib/libvirt")

    def pid_file(self, domain: str) -> Path:
        """Return where libvirt writes the pid of a domain's QEMU."""
        return self.run / "qemu" / f"{domain}.pid"

    def pid_files(self, prefix: str) -> list[Path]:
        """Return the pid files of the domains whose name begins so."""
        return sorted((self.run / "qemu").glob(f"{prefix}*.pid"))

    def qemu_log(self, domain: str) -> Path:
        """Return libvirt's own log of a domain: each start and each end, with its reason."""
        return self.log / "qemu" / f"{domain}.log"

    def console_log(self, domain: str) -> Path:
        """Return the log of a domain's serial console."""
        return self.log / "qemu" / _console(domain)

    def logs(self, domain: str) -> list[Path]:
        """Return every log of a domain, those that virtlogd and logrotate keep included."""
        folder = self.log / "qemu"
        try:
            return sorted(each for each in folder.iterdir() if each.name.startswith(f"{domain}."))
        except FileNotFoundError:
            return []

    def run_folders(self, domain: str) -> list[Path]:
        """Return the folders of a domain's runs, with sockets and a key for that run only.

        libvirt removes them with the run, but not where it was killed in the middle of a start.
        """
        name = domain[:_SHORT_NAME]
        qemu = self.lib / "qemu"
        folders = (qemu, qemu / "channel" / "target")
        found = [path for folder in folders for path in folder.glob(f"domain-*-{name}")]
        # Where libvirt 9.7 and later have the channels.
        return sorted([*found, *(self.run / "qemu" / "channel").glob(f"*-{name}")])

    def prepare(self) -> None:
        """Make the folder of the logs: libvirt makes it too late for the first console."""
        (self.log / "qemu").mkdir(parents=True, exist_ok=True)


def console_log_path(domain: str) -> str:
    """Return the path of the console log as libvirt sees it, on the host.

    It lies beside libvirt's own logs, because there virtlogd may write under AppArmor and SELinux.
    Not `.log`: libvirt's logrotate rule takes those, and virtlogd rotates this one by itself.
    """
    return str(_LOG / "qemu" / _console(domain))


def _console(domain: str) -> str:
    return f"{domain}.console"
