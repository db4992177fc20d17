# SPDX-License-Identifier: Apache-2.0
"""The command line: ``python -m nopal_dev up|down|env|...``."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence

from nopal_dev import packages
from nopal_dev.binaries import Binaries
from nopal_dev.cluster import Cluster
from nopal_dev.demo import demo
from nopal_dev.errors import DevError, UnknownClusterError
from nopal_dev.guest import debian_guest
from nopal_dev.state import clusters, marker


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except DevError as error:
        print(f"nopal_dev: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever reads our words has enough of them: nothing more may be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("nopal_dev: interrupted; `down` removes what was started", file=sys.stderr)
        return 130


def _up(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    packages.install(_say)
    # What this command starts and waits for is found by `down` too, should this command be killed.
    os.environ.update(marker(arguments.name))
    cluster = Cluster.up(
        arguments.name, hosts=arguments.hosts, objectstore=arguments.objectstore, say=_say
    )
    if arguments.install:
        cluster.workloads.install()
        cluster.workloads.put_keys(cluster.ceph)
    _say(f"cluster {cluster.name} is up after {time.monotonic() - started:.1f} s")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    names = clusters() if arguments.all else [arguments.name]
    for name in names:
        try:
            cluster = Cluster.load(name)
        except UnknownClusterError as error:
            _say(str(error))
            continue
        started = time.monotonic()
        cluster.down()
        _say(f"cluster {name} is gone after {time.monotonic() - started:.1f} s")
    return 0


def _env(arguments: argparse.Namespace) -> int:
    cluster = Cluster.load(arguments.name)
    for name, value in cluster.environment.items():
        print(f"export {name}={shlex.quote(value)}")
    print(f"export PATH={shlex.quote(cluster.binaries.path)}:$PATH")
    return 0


def _list(_arguments: argparse.Namespace) -> int:
    for name in clusters():
        cluster = Cluster.load(name)
        print(f"{name}\t{cluster.network.address}\t{cluster.folder}")
        for host in cluster.hosts.values():
            print(f"  {host.name}\t{host.address}\tvirsh -c {host.uri}")
        for process in cluster.processes.names():
            running = cluster.processes.find(process)
            print(f"  {process}\t{f'pid {running.pid}' if running else 'not running'}")
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    demo(arguments.name, hosts=arguments.hosts)
    return 0


def _guest_image(_arguments: argparse.Namespace) -> int:
    packages.install(_say)
    image = debian_guest(_say)
    print(f"{image.sha256}  {image.path}")
    return 0


def _packages(_arguments: argparse.Namespace) -> int:
    packages.install(_say)
    return 0


def _binaries(_arguments: argparse.Namespace) -> int:
    print(Binaries.find(_say).path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nopal_dev", description="A cluster on one machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    name = os.environ.get("NOPAL_CLUSTER", "demo")

    def add(
        verb: str, command: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(verb, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    def add_named(
        verb: str, command: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        sub = add(verb, command, text)
        sub.add_argument("--name", default=name, help=f"the cluster's name (default: {name})")
        return sub

    up = add_named("up", _up, "Start a cluster, or repair a running one.")
    up.add_argument("--hosts", type=int, default=2, help="how many hosts (default: 2)")
    up.add_argument("--objectstore", choices=("memstore", "bluestore"), default="memstore")
    up.add_argument("--install", action="store_true", help="apply the chart and the hosts' keys")
    down = add_named("down", _down, "Remove a cluster and everything of it.")
    down.add_argument("--all", action="store_true", help="remove every cluster")
    add_named("env", _env, "Print what a shell needs to reach a cluster.")
    example = add_named("demo", _demo, "From nothing to a guest that writes to Ceph.")
    example.add_argument("--hosts", type=int, default=2, help="how many hosts (default: 2)")
    add("guest-image", _guest_image, "Make the Debian guest image, or find it in the cache.")
    add("packages", _packages, "Install the Debian packages that are missing.")
    add("binaries", _binaries, "Build the control plane's programs, or find them.")
    add("list", _list, "List the clusters, their hosts and processes.")
    return parser


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)
