# SPDX-License-Identifier: Apache-2.0
"""Writes of our kinds as kube-apiserver itself counts them."""

import re
import ssl
import urllib.request
from collections import Counter

from nopal_dev.cluster import Cluster

_LINE = re.compile(r"^apiserver_request_total\{([^}]*)\} ([0-9.e+]+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_WRITES = {"POST", "PUT", "PATCH", "APPLY", "DELETE"}


class ApiWrites:
    """Counts the writes between two moments."""

    def __init__(self, cluster: Cluster) -> None:
        certificates = cluster.control_plane.certificates
        context = ssl.create_default_context(cafile=str(certificates.authority))
        context.load_cert_chain(certificates.certificate("admin"), certificates.key("admin"))
        self._context = context
        self._url = f"{cluster.control_plane.server}/metrics"
        self._before = self._read()

    def since(self) -> Counter[str]:
        """The writes since the last call, by what was written: verb resource[/subresource]."""
        now = self._read()
        diff = now - self._before
        self._before = now
        return diff

    def _read(self) -> Counter[str]:
        with urllib.request.urlopen(self._url, context=self._context) as answer:  # noqa: S310
            text = answer.read().decode()
        found: Counter[str] = Counter()
        for line in text.splitlines():
            match = _LINE.match(line)
            if not match:
                continue
            labels = dict(_LABEL.findall(match[1]))
            if labels.get("group") == "nopal.dev" and labels.get("verb") in _WRITES:
                sub = labels.get("subresource")
                what = labels["resource"] + (f"/{sub}" if sub else "")
                found[f"{labels['verb']} {what}"] += int(float(match[2]))
        return found
