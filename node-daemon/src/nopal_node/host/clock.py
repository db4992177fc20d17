# SPDX-License-Identifier: Apache-2.0
"""Whether the kernel's clock is held by a time server: adjtimex(2), read only."""

import ctypes

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


class _Timex(ctypes.Structure):
    """The start of struct timex (linux/timex.h); the rest is room for the kernel to write into."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def clock_synchronized() -> bool | None:
    """Tell whether the clock is synchronized; None where the kernel does not say."""
    state = _Timex(modes=0)
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except AttributeError:
        return None
    result: int = adjtimex(ctypes.byref(state))
    if result < 0:
        return None
    return judge(result, state.status)


def judge(result: int, status: int) -> bool:
    """Read adjtimex's answer: the clock's state, and its status bits."""
    return result != _TIME_ERROR and not status & _STA_UNSYNC
