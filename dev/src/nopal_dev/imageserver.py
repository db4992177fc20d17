# SPDX-License-Identifier: Apache-2.0
"""Serves image files over HTTP on a cluster's management address, where every host reaches them."""

import sys
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from nopal_dev.guest import GuestImage
from nopal_dev.network import Network
from nopal_dev.processes import Processes, listening

_PORT = 8080
_NAME = "image-server"


class ImageServer:
    """The image server of one cluster.

    Args:
        folder: What it serves.
        network: Where it listens.
        processes: Where its process is recorded.
    """

    def __init__(self, folder: Path, network: Network, *, processes: Processes) -> None:
        self.folder = folder
        self._network = network
        self._processes = processes

    def up(self) -> None:
        """Start it if it does not run, and wait until it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        address = self._network.address
        argv = [sys.executable, "-m", "nopal_dev.imageserver", str(self.folder), address]
        source = str(Path(__file__).parents[1])
        self._processes.start(_NAME, argv, env={"PYTHONPATH": source})
        self._processes.wait(_NAME, lambda: listening(address, _PORT), timeout=120.0)

    def stop(self) -> None:
        """End it: downloads break."""
        self._processes.kill(_NAME)

    def serve(self, image: GuestImage) -> str:
        """Serve a file (by a link, not a copy) and give its URL."""
        self.folder.mkdir(parents=True, exist_ok=True)
        link = self.folder / image.path.name
        if link.resolve() != image.path.resolve():
            link.unlink(missing_ok=True)
            link.symlink_to(image.path.resolve())
        return self.url(link.name)

    def url(self, name: str) -> str:
        """The URL of a file in the folder."""
        return f"http://{self._network.address}:{_PORT}/{name}"


def main(argv: Sequence[str]) -> None:
    """Serve a folder for ever: FOLDER ADDRESS."""
    folder, address = argv
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer((address, _PORT), handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
