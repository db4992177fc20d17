# SPDX-License-Identifier: Apache-2.0
"""The scheduler's command line in tests: a cluster file, and what is printed about it."""

import pytest

from nopal_scheduler.cli.main import main

VERBS = {"place", "fit", "balance", "evacuate", "check", "failover"}
CLUSTER = """\
vmOverhead: false
redundancy: {failures: 1}
hosts:
- {name: n, count: 3, capacity: {cpu: 32, memory: 64Gi}, labels: {rack: a}}
- {name: old, capacity: {cpu: 32, memory: 64Gi}, state: Draining}
vms:
- {name: web, count: 2, cores: 2, memory: 8Gi, host: [n-1, n-2]}
- {name: db, cores: 4, memory: 24Gi}
- {name: cache, cores: 1, memory: 4Gi, host: old, priority: 5}
"""
Capture = pytest.CaptureFixture[str]


def out(capsys: Capture, *arguments: str) -> str:
    code = main(arguments)
    printed = capsys.readouterr()
    assert printed.err == ""
    return f"{printed.out}{code}"


def bad(capsys: Capture, *arguments: str) -> str:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err
