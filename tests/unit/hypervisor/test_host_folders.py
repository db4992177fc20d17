# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from nopal_node.hypervisor.host_folders import HostFolders, console_log_path


def test_logs_of_one_domain_only(tmp_path: Path) -> None:
    folders = HostFolders(log=tmp_path)
    assert folders.logs("nopal-a") == []
    folders.prepare()
    names = ["nopal-a.console", "nopal-a.console.0", "nopal-a.log", "nopal-a.log.2.gz"]
    for name in [*names, "nopal-ab.log", "other.log"]:
        (tmp_path / "qemu" / name).touch()
    assert [path.name for path in folders.logs("nopal-a")] == names
    folders.prepare()


def test_the_console_has_one_name_on_both_sides() -> None:
    assert console_log_path("nopal-a") == str(HostFolders().console_log("nopal-a"))
