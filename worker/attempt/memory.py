"""How much memory an attempt can have on this worker: its GPU's, where it computes on one, else the machine's. Without torch.

The driver is asked in a process of its own (`python -m worker.attempt.memory 0`): the parent never opens the device.
CUDA_VISIBLE_DEVICES and slices of a GPU are respected, since it is the driver that counts.
"""

import ctypes
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

GIB = 2**30
ASK_SECONDS = 30.0
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container's bound stands: cgroups of version 2, of version 1."""


def memory_gib(device: str) -> float:
    """Of `auto`, `cpu`, `mps`, `cuda` or `cuda:N`. A GPU that does not answer counts as none: 0 where it was named."""
    named, _, number = device.partition(":")
    of_gpu = None if named in ("cpu", "mps") else _ask(int(number or 0))
    if of_gpu is None:
        of_gpu = 0 if named == "cuda" else None
    return round((machine_bytes() if of_gpu is None else of_gpu) / GIB, 2)


def check_device(device: str) -> None:
    """Raises OSError where a GPU is named and its driver does not know it: nothing could be trained here now."""
    named, _, number = device.partition(":")
    if named == "cuda" and _ask(int(number or 0)) is None:
        raise OSError(
            f"STROP_DEVICE is {device}, and no such GPU answers: see to the driver and to what the container is given, or set "
            "STROP_DEVICE=cpu"
        )


def machine_bytes(limits: tuple[Path, ...] = LIMITS) -> int:
    """The machine's memory, or what this container may have of it."""
    bounds = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in limits:
        with suppress(OSError, ValueError):  # not there, or "max"
            bounds.append(int(path.read_text()))
    return min(bounds)


def _ask(number: int) -> int | None:
    words = [sys.executable, "-m", __name__, str(number)]
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(
            words, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=ASK_SECONDS, check=True
        )
        return int(done.stdout)
    return None


def driver_bytes(number: int) -> int:
    """Memory of the CUDA device of that number. Raises OSError where there is no driver, or none such."""
    driver = ctypes.CDLL("libcuda.so.1")
    device, total = ctypes.c_int(), ctypes.c_size_t()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), number):
        raise OSError(f"there is no CUDA device {number}")
    if driver.cuDeviceTotalMem_v2(ctypes.byref(total), device):
        raise OSError(f"CUDA device {number} does not say its memory")
    return total.value


if __name__ == "__main__":
    try:
        sys.stdout.write(str(driver_bytes(int(sys.argv[1]))))
    except OSError as error:
        sys.exit(str(error))
