# SPDX-License-Identifier: Apache-2.0
"""`python -m nopal_node`: the daemon of this host, as the DaemonSet runs it."""

import asyncio
import os
import signal
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial

from nopal_runtime import logs, settings
from nopal_runtime.health import HealthServer
from nopal_runtime.kube.client import KubeClient
from nopal_runtime.kube.credentials import load_credentials
from nopal_runtime.kube.watch import Watch
from nopal_runtime.metrics import Metrics

from .app import NodeDaemon
from .host.facts import read_facts
from .hypervisor.libvirt_hypervisor import LibvirtHypervisor
from .network.linux import LinuxNetwork
from .settings import Settings
from .storage.base import PoolAccess
from .storage.ceph import CephPool
from .threads import Threads


def main() -> None:
    """Run the daemon until SIGTERM or SIGINT; guests run on."""
    config = settings.read(Settings, os.environ)
    logs.configure(config.log_level)
    asyncio.run(_run(config))


def connect(config: Settings, access: PoolAccess) -> CephPool:
    """Return a pool, as the settings want it to be used."""
    return CephPool(
        access,
        trash_delay=config.trash_delay_seconds,
        operation_seconds=config.ceph_operation_seconds,
        limits=config.import_limits(),
    )


async def _run(config: Settings) -> None:
    credentials = load_credentials()
    threads = Threads()
    hypervisor = LibvirtHypervisor(config.libvirt_uri, acceleration=config.acceleration)

    metrics = Metrics()
    async with KubeClient(credentials, observe=metrics.request) as kube:
        daemon = NodeDaemon(
            settings=config,
            kube=kube,
            hypervisor=hypervisor,
            network=LinuxNetwork(),
            connect=partial(connect, config),
            make_watch=partial(Watch, credentials=credentials),
            facts=read_facts,
            wall=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            threads=threads,
            metrics=metrics,
        )
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        health = HealthServer(config.health_port, daemon.checks(), metrics=metrics.text)
        async with health if config.health_port else nullcontext():
            work = asyncio.create_task(daemon.run(), name="daemon")
            stopped = asyncio.create_task(stop.wait(), name="stop")
            done, _ = await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            hypervisor.close()
            threads.close()
            if work in done:
                work.result()  # raises what ended it


if __name__ == "__main__":
    main()
