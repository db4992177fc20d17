# SPDX-License-Identifier: Apache-2.0
"""Whether KVM runs a guest, tried with a tiny one. `python -m nopal_node.hypervisor.kvm_probe`.

/dev/kvm may be there and open, and a guest on it still make no progress: nested KVM without
hardware behind it interprets every instruction, some 300 times slower than hardware and slower than
TCG, so that a stock kernel seems to hang at its first line. Hence the guest must walk the way of
every kernel (real mode, protected mode, page tables, long mode) and then count, and it is timed.

Prints one line, empty if KVM is usable, else why it is not. It runs as a process of its own: a
guest that hangs holds the thread that runs it, and only a kill ends that.
"""

import ctypes
import fcntl
import mmap
import os
import struct
import subprocess
import sys
import time

_DEVICE = "/dev/kvm"
_TIMEOUT = 10.0
_SLOW_SECONDS = 0.05
"""For 250,000 turns of a two-instruction loop: hardware takes 0.3 ms, an interpreter 150 ms."""
_TRIES = 3

# asm/kvm.h and linux/kvm.h, x86-64
_GET_API_VERSION, _CREATE_VM, _GET_VCPU_MMAP_SIZE = 0xAE00, 0xAE01, 0xAE04
_CREATE_VCPU, _SET_TSS_ADDR, _RUN = 0xAE41, 0xAE47, 0xAE80
_SET_USER_MEMORY_REGION, _SET_REGS, _SET_CPUID2 = 0x4020AE46, 0x4090AE82, 0x4008AE90
# With the top bit set, as fcntl wants it: a signed number.
_GET_SUPPORTED_CPUID = 0xC008AE05 - (1 << 32)
_GET_SREGS, _SET_SREGS = 0x8138AE83 - (1 << 32), 0x4138AE84
_EXIT_IO, _EXIT_HLT = 2, 5

_MEMORY = 0x200000
_START = 0x1000
_TSS = 0x400000  # outside of the guest's memory; old Intel CPUs need it in real mode
_CPUID_ENTRIES = 256

# Assembled at 0x1000, with page tables at 0x2000, 0x3000 and 0x4000:
GUEST = bytes.fromhex(
    # 16 bits: cli; lgdt [0x10a0]; cr0 |= 1; ljmp 8:0x1013
    "fa 0f0116a010 0f20c0 0c01 0f22c0 ea13100800"
    # 32 bits: ds = 0x10; out 0xe9, '3'
    "66b81000 8ed8 b033 e6e9"
    # page tables that map the first 2 MiB to themselves
    "c7050020000003300000 c7050030000003400000 c7050040000083000000"
    # cr3 = 0x2000; cr4 |= PAE; EFER |= LME; cr0 |= PG; ljmp 0x18:0x106c
    "b800200000 0f22d8 0f20e0 83c820 0f22e0"
    "b9800000c0 0f32 0d00010000 0f30"
    "0f20c0 0d00000080 0f22c0 ea6c1000001800"
    # 64 bits: ecx = 250000; dec ecx; jnz; out 0xe9, '6'; hlt; jmp $
    "b990d00300 ffc9 75fc b036 e6e9 f4 ebfe"
    # to the next multiple of 8; GDT: null, code 32, data, code 64; its register
    "0f1f4000"
    "0000000000000000 ffff0000009acf00 ffff00000092cf00 ffff0000009aaf00"
    "1f0080100000"
)


def probe(timeout: float = _TIMEOUT) -> str:
    """Return why KVM cannot be used, empty if it can. Takes milliseconds where it works."""
    argv = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return f"a guest on {_DEVICE} hangs: {_REMEDY}"
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return f"a guest on {_DEVICE} does not start: {last}: {_REMEDY}"
    return done.stdout.strip()


_REMEDY = (
    "turn virtualization (Intel VT-x, AMD-V) on in the firmware, or nested virtualization if this"
    " host is itself a virtual machine; until then guests run slowly, emulated"
)


def _try() -> str:
    if os.uname().machine != "x86_64":
        return f"KVM is not supported on {os.uname().machine} yet"
    try:
        kvm = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return f"{_DEVICE} is not there: load the module kvm_intel or kvm_amd; {_REMEDY}"
    except OSError as error:
        return f"{_DEVICE}: {error.strerror}: the daemon needs to read and write it"
    # A busy host may hold one try up, hardly all of them.
    for _ in range(_TRIES):
        if _run_guest(kvm) < _SLOW_SECONDS:
            return ""
    # Not how long it took: a status that differs at each start of the daemon would be rewritten.
    return (
        f"a guest on {_DEVICE} runs, but its instructions are interpreted: a loop that takes"
        f" hardware 0.0003 s takes more than {_SLOW_SECONDS:g} s: {_REMEDY}"
    )


def _run_guest(kvm: int) -> float:
    """Run the guest once; return the seconds that its loop took."""
    vm = fcntl.ioctl(kvm, _CREATE_VM, 0)
    memory = mmap.mmap(-1, _MEMORY)
    memory[_START : _START + len(GUEST)] = GUEST
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(vm, _SET_TSS_ADDR, _TSS)
    fcntl.ioctl(vm, _SET_USER_MEMORY_REGION, struct.pack("=IIQQQ", 0, 0, 0, _MEMORY, address))
    vcpu = fcntl.ioctl(vm, _CREATE_VCPU, 0)
    state = mmap.mmap(vcpu, fcntl.ioctl(kvm, _GET_VCPU_MMAP_SIZE))
    # Without its CPUID the guest may not enter long mode.
    cpuid = bytearray(struct.pack("=II", _CPUID_ENTRIES, 0) + bytes(40 * _CPUID_ENTRIES))
    fcntl.ioctl(kvm, _GET_SUPPORTED_CPUID, cpuid)
    fcntl.ioctl(vcpu, _SET_CPUID2, cpuid)
    segments = bytearray(0x138)
    fcntl.ioctl(vcpu, _GET_SREGS, segments)
    struct.pack_into("=QIH", segments, 0, 0, 0xFFFF, 0)  # cs: base 0, so that rip is an address
    fcntl.ioctl(vcpu, _SET_SREGS, segments)
    fcntl.ioctl(vcpu, _SET_REGS, struct.pack("=18Q", *([0] * 16), _START, 2))
    said, before = "", 0.0
    while True:
        fcntl.ioctl(vcpu, _RUN, 0)
        now = time.perf_counter()
        (reason,) = struct.unpack_from("=I", state, 8)
        if reason == _EXIT_HLT and said == "36":
            break
        if reason != _EXIT_IO or len(said) > 1:
            raise SystemExit(f"it stopped with KVM exit {reason} after saying {said!r}")
        (offset,) = struct.unpack_from("=Q", state, 40)
        said += chr(state[offset])
        before, elapsed = now, now - before
    os.close(vcpu)
    os.close(vm)
    return elapsed


if __name__ == "__main__":
    print(_try())  # noqa: T201 - what the parent process reads
