# SPDX-License-Identifier: Apache-2.0
"""One connection to libvirt that comes back by itself, with its callbacks registered again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from nopal_runtime.errors import NopalError, TransientError

from . import libvirt_api
from .libvirt_api import UNREACHABLE

if TYPE_CHECKING:
    import libvirt

_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT = 5, 3
"""A libvirtd that does not answer for 15-20 s counts as lost."""
_SETTLE_SECONDS = 3.0
"""A libvirtd that was just started goes through its domains. Of one that it finds dead then, it
sends no event (seen with 9.0): so everything is to be looked at once more."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_PATIENCE = 10.0
"""How long the first call of all waits for the first try to connect, in seconds."""


@cache
def _event_loop() -> None:
    """Run libvirt's event loop in a thread of its own: it belongs to the process, and must be
    registered before the first connection is opened.
    """  # noqa: D205 - one sentence
    api = libvirt_api.load()
    api.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            api.virEventRunDefaultImpl()

    threading.Thread(target=run, name="libvirt-events", daemon=True).start()


class LibvirtConnection:
    """Keeps a connection to one libvirt.

    Args:
        uri: libvirt's, for example qemu:///system.
        on_event: is called from libvirt's event thread, which must not call libvirt, with a
            domain's name, UUID, event and detail (virDomainEventType and its details).
        on_connect: is called after each connect, once the callbacks are registered, and once more
            when libvirt has settled.
    """

    def __init__(
        self,
        uri: str,
        *,
        on_event: Callable[[str, str, int, int], None],
        on_connect: Callable[[], None],
    ) -> None:
        self._uri = uri
        self._on_event = on_event
        self._on_connect = on_connect
        self._connection: libvirt.virConnect | None = None
        self._error = "no connection was tried yet"
        self._tried = threading.Event()
        self._wake = threading.Event()
        self._closing = False
        self._users = 0
        self._users_changed = threading.Condition()
        _event_loop()
        self._keeper = threading.Thread(target=self._keep, name="libvirt-keeper", daemon=True)
        self._keeper.start()

    @contextmanager
    def use(self) -> Iterator[libvirt.virConnect]:
        """Lend the live connection; it is not closed while somebody uses it.

        Raises:
            TransientError: HypervisorUnreachable.
        """
        self._tried.wait(_PATIENCE)
        with self._users_changed:
            connection = self._connection
            if connection is None:
                raise TransientError(
                    UNREACHABLE,
                    f"no connection to libvirt at {self._uri}: {self._error};"
                    " see that libvirtd (or virtqemud) runs on this host",
                )
            self._users += 1
        try:
            yield connection
        finally:
            with self._users_changed:
                self._users -= 1
                self._users_changed.notify_all()

    def report_broken(self) -> None:
        """Note that a call failed for the connection's sake: connect again."""
        self._wake.set()

    def close(self) -> None:
        """Close the connection and end its thread."""
        self._closing = True
        self._wake.set()
        self._keeper.join(_PATIENCE)

    def _keep(self) -> None:
        api = libvirt_api.load()
        pause = _FIRST_PAUSE
        while not self._closing:
            self._wake.clear()
            try:
                connection = self._open()
            except api.libvirtError as error:
                self._error = str(error).strip()
                self._tried.set()
                self._wake.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            with self._users_changed:
                self._connection = connection
            self._tried.set()
            pause = _FIRST_PAUSE
            self._tell()
            settled = False
            while not self._closing and _alive(connection):
                if self._wake.wait(None if settled else _SETTLE_SECONDS):
                    self._wake.clear()
                else:
                    settled = True
                    self._tell()
            self._retire(connection)

    def _retire(self, connection: libvirt.virConnect) -> None:
        with self._users_changed:
            self._connection, self._error = None, "the connection was lost"
            # Calls on a lost connection fail at once. One that does not keeps it open.
            if self._users_changed.wait_for(lambda: self._users == 0, _PATIENCE):
                _close(connection)

    def _tell(self) -> None:
        # What a subscriber could not do it finds undone at its next look; the connection stays.
        with suppress(NopalError):
            self._on_connect()

    def _open(self) -> libvirt.virConnect:
        api = libvirt_api.load()
        connection: libvirt.virConnect = api.open(self._uri)
        try:
            connection.setKeepAlive(_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT)
            connection.registerCloseCallback(self._closed, None)
            # Registered here, at each connect: a connection without its callbacks is deaf.
            connection.domainEventRegisterAny(
                None, api.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._event, None
            )
        except api.libvirtError:
            _close(connection)
            raise
        return connection

    def _closed(self, _connection: object, _reason: int, _opaque: Any) -> None:
        self._wake.set()

    def _event(
        self, _connection: object, domain: libvirt.virDomain, event: int, detail: int, _opaque: Any
    ) -> None:
        # Name and UUID come with the event; asking libvirt for more would block its own thread.
        self._on_event(domain.name(), domain.UUIDString(), event, detail)


def _alive(connection: libvirt.virConnect) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt_api.load().libvirtError:
        return False


def _close(connection: libvirt.virConnect) -> None:
    api = libvirt_api.load()
    with suppress(api.libvirtError):
        connection.unregisterCloseCallback()
    with suppress(api.libvirtError):
        connection.close()
