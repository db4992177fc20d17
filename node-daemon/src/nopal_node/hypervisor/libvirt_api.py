# SPDX-License-Identifier: Apache-2.0
"""The libvirt module, loaded when it is needed, and what its errors mean.

libvirt comes from the distribution (python3-libvirt): the rest of the daemon, and every test
without a hypervisor, must import without it.
"""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from nopal_runtime.errors import ConflictError, NopalError, TerminalError, TransientError

if TYPE_CHECKING:
    import libvirt

UNREACHABLE = "HypervisorUnreachable"

_BROKEN_CODES = ("VIR_ERR_SYSTEM_ERROR", "VIR_ERR_INTERNAL_ERROR", "VIR_ERR_RPC")
_BROKEN_DOMAINS = ("VIR_FROM_REMOTE", "VIR_FROM_RPC")
_TERMINAL_CODES = (
    "VIR_ERR_XML_ERROR",
    "VIR_ERR_XML_DETAIL",
    "VIR_ERR_CONFIG_UNSUPPORTED",
    "VIR_ERR_INVALID_ARG",
    "VIR_ERR_NO_OS",
    "VIR_ERR_NO_DOMAIN_METADATA",
)


@cache
def load() -> ModuleType:
    """Return the libvirt module, silenced: errors are exceptions, never lines on stderr.

    Raises:
        TerminalError: LibvirtMissing, with the package to install.
    """
    try:
        module = importlib.import_module("libvirt")
    except ImportError as error:
        raise TerminalError(
            "LibvirtMissing",
            f"the Python module libvirt cannot be loaded ({error}): install python3-libvirt with"
            " apt-get, and make the virtual environment with --system-site-packages",
        ) from error
    module.registerErrorHandler(lambda _context, _error: None, None)
    return module


def is_broken_link(error: libvirt.libvirtError) -> bool:
    """Whether the connection failed, not the thing that was asked for (as Nova tells it)."""
    api = load()
    code, domain = error.get_error_code(), error.get_error_domain()
    if code == api.VIR_ERR_INVALID_CONN:
        return True
    broken = {getattr(api, name) for name in _BROKEN_CODES}
    return code in broken and domain in {getattr(api, name) for name in _BROKEN_DOMAINS}


def is_absent(error: libvirt.libvirtError) -> bool:
    """Whether libvirt knows that there is no such domain or secret."""
    api = load()
    return error.get_error_code() in (api.VIR_ERR_NO_DOMAIN, api.VIR_ERR_NO_SECRET)


def is_about_state(error: libvirt.libvirtError) -> bool:
    """Whether the domain is in no state for it: most often it has just gone."""
    return bool(error.get_error_code() == load().VIR_ERR_OPERATION_INVALID)


def is_about_lost_monitor(error: libvirt.libvirtError) -> bool:
    """Whether QEMU ended while libvirt spoke with it: libvirt has no code of its own for that."""
    api = load()
    codes = (api.VIR_ERR_SYSTEM_ERROR, api.VIR_ERR_INTERNAL_ERROR, api.VIR_ERR_OPERATION_FAILED)
    from_qemu = error.get_error_domain() == api.VIR_FROM_QEMU and error.get_error_code() in codes
    return from_qemu and "monitor" in str(error)


def translate(error: libvirt.libvirtError, doing: str, *, reason: str) -> NopalError:
    """Return libvirt's error as ours.

    Args:
        error: what libvirt raised.
        doing: what was tried, in a few words.
        reason: the condition's reason, unless the connection itself is the trouble.
    """
    api = load()
    words = f"{doing}: libvirt says: {str(error).strip()}"
    code = error.get_error_code()
    if is_broken_link(error):
        return TransientError(
            UNREACHABLE, f"{words}; see that libvirtd (or virtqemud) runs on this host"
        )
    if code == api.VIR_ERR_DOM_EXIST:
        return ConflictError(reason, words)
    if code in {getattr(api, name) for name in _TERMINAL_CODES}:
        return TerminalError(reason, words)
    return TransientError(reason, words)
