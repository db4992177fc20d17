# SPDX-License-Identifier: Apache-2.0
"""`python -m nopal_operator`: one of the operators; it acts once it leads.

`python -m nopal_operator export-zone ZONE` prints a live zone as a cluster file instead.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
import uuid
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, NoReturn

from nopal_operator.app import Operator
from nopal_operator.export import export_zone
from nopal_operator.settings import Settings
from nopal_runtime import logs, settings
from nopal_runtime.errors import NopalError
from nopal_runtime.health import HealthServer
from nopal_runtime.kube.client import KubeClient
from nopal_runtime.kube.credentials import load_credentials
from nopal_runtime.kube.guard import GuardedKube
from nopal_runtime.kube.lease import Elector
from nopal_runtime.kube.watch import Watch
from nopal_runtime.metrics import Metrics
from nopal_runtime.ownloop import OwnLoop

_LEASE_NAME = "nopal-operator"


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT, or until the right to lead is lost; or export a zone.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m nopal_operator")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    export = commands.add_parser(
        "export-zone",
        help="print a live zone as a cluster file for python -m nopal_scheduler",
        description="Reads zones, hosts, nodes and virtual machines with your KUBECONFIG.",
    )
    export.add_argument("zone", help="name of the Zone")
    options = parser.parse_args(arguments)
    config = settings.read(Settings, os.environ)
    if options.command == "export-zone":
        return asyncio.run(_export(options.zone))
    logs.configure(config.log_level)
    asyncio.run(_run(config))
    return 0


async def _export(zone: str) -> int:
    try:
        async with KubeClient(load_credentials()) as kube:
            sys.stdout.write(await export_zone(kube, zone))
    except NopalError as error:
        sys.stderr.write(f"{error.reason}: {error.message}\n")
        return 1
    return 0


async def _run(config: Settings) -> None:
    credentials = load_credentials()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = Metrics()
    async with (
        KubeClient(credentials, observe=metrics.request) as kube,
        # The Lease is renewed beside the planning, however long that takes: from another loop, and
        # so by another client.
        OwnLoop("elector") as own,
        AsyncExitStack() as stack,
    ):
        lease_kube = KubeClient(credentials, observe=metrics.request)
        stack.push_async_callback(lambda: own.run(lease_kube.close()))
        elector = Elector(
            lease_kube,
            identity=f"{config.identity or socket.gethostname()}-{uuid.uuid4().hex[:8]}",
            on_lost=_end_at_once,
            namespace=config.namespace,
            name=_LEASE_NAME,
            lease_seconds=config.leader_lease_seconds,
            renew_seconds=config.leader_lease_seconds * 2 / 15,
            deadline_seconds=config.leader_lease_seconds * 2 / 3,
        )
        operator = Operator(
            settings=config,
            kube=GuardedKube(kube, elector.leading),
            make_watch=partial(Watch, credentials=credentials),
            metrics=metrics,
        )
        for port in {config.health_port, config.metrics_port} - {0}:
            server = HealthServer(port, operator.checks(), metrics=metrics.text)
            await stack.enter_async_context(server)
        if await _unless(stop, own.run(elector.acquire())):
            await _unless(stop, _lead(own.run(elector.keep()), operator.run()))
            await own.run(elector.release())


async def _lead(*work: Coroutine[Any, Any, NoReturn]) -> None:
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Work until it is done, or until the stop; tell whether it was done."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        working.result()  # raises what ended it
        return True
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    return False


def _end_at_once() -> None:
    """End the process without any farewell: another operator may lead already."""
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
