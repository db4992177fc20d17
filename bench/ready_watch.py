# SPDX-License-Identifier: Apache-2.0
"""When VMs became Ready, from one watch: no polling and no process start is in the figures."""

import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from nopal_dev.cluster import Cluster
from support.site import status_of


class ReadyWatch:
    """Watches the VMs of a namespace and notes when each is first Ready."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        certificates = cluster.control_plane.certificates
        context = ssl.create_default_context(cafile=str(certificates.authority))
        context.load_cert_chain(certificates.certificate("admin"), certificates.key("admin"))
        url = urlsplit(cluster.control_plane.server)
        self._connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, context=context, timeout=600
        )
        path = f"/apis/nopal.dev/v1alpha1/namespaces/{namespace}/virtualmachines?watch=1"
        self._connection.request("GET", path)
        self._answer = self._connection.getresponse()
        self._ready: dict[str, float] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def until(self, names: Iterable[str], *, seconds: float) -> float:
        """Wait until all are Ready; return the monotonic time at which the last one was."""
        wanted = set(names)
        with self._changed:
            done = self._changed.wait_for(lambda: wanted <= self._ready.keys(), seconds)
            assert done, f"not Ready after {seconds:g} s: {sorted(wanted - self._ready.keys())}"
            return max(self._ready[name] for name in wanted)

    def _read(self) -> None:
        for line in self._answer:
            event = json.loads(line)
            name = event["object"]["metadata"]["name"]
            if status_of(event["object"], "Ready") == "True":
                with self._changed:
                    self._ready.setdefault(name, time.monotonic())
                    self._changed.notify_all()
