# SPDX-License-Identifier: Apache-2.0
"""One connection for each cluster, user and key of this process, shared by its pools."""

import threading

from .connection import CephAccess, CephConnection


class KeptConnections:
    """Connections that are closed when the last who asked for them gives them back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[CephAccess, tuple[CephConnection, int]] = {}

    def take(self, access: CephAccess) -> CephConnection:
        """Return the connection; each take needs one give_back."""
        with self._lock:
            connection, users = self._kept.get(access) or (CephConnection(access), 0)
            self._kept[access] = (connection, users + 1)
            return connection

    def give_back(self, access: CephAccess) -> None:
        """Close the connection if nobody else has taken it."""
        with self._lock:
            connection, users = self._kept[access]
            if users > 1:
                self._kept[access] = (connection, users - 1)
                return
            del self._kept[access]
        connection.close()


KEPT = KeptConnections()
"""The process's own. A client instance costs Ceph a session, a watch and a map subscription."""
