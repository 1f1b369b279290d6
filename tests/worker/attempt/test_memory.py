"""The memory that a worker offers: the GPU's by its driver, else the machine's or the container's."""

import os
import subprocess
from pathlib import Path

import pytest

from worker.attempt import memory
from worker.attempt.memory import GIB, check_device, machine_bytes, memory_gib

DRIVER = """
#include <stddef.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return number < 2 ? 0 : 101; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)(device ? 24 : 80) << 30; return 0; }
"""


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that knows two devices, of 80 and 24 GiB."""
    (tmp_path / "driver.c").write_text(DRIVER)
    words = ["cc", "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", tmp_path / "driver.c"]
    subprocess.run(words, check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))


@pytest.mark.parametrize(("device", "gib"), [("auto", 80), ("cuda", 80), ("cuda:0", 80), ("cuda:1", 24), ("cuda:2", 0)])
def test_of_a_gpu_is_what_its_driver_says(two_gpus: None, device: str, gib: float) -> None:
    assert memory_gib(device) == gib


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cpu", "mps", "auto"])
def test_a_device_that_answers_or_was_not_named_is_well(two_gpus: None, device: str) -> None:
    check_device(device)


def test_a_named_gpu_that_does_not_answer_is_told_with_a_remedy(two_gpus: None) -> None:
    with pytest.raises(OSError, match=r"STROP_DEVICE is cuda:2, and no such GPU answers.* set STROP_DEVICE=cpu"):
        check_device("cuda:2")


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_of_other_devices_is_the_machines(two_gpus: None, device: str) -> None:
    assert memory_gib(device) == pytest.approx(machine_bytes() / GIB, abs=0.01)


def test_where_there_is_no_driver_auto_is_the_machines_and_a_named_gpu_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libcuda.so.1").write_text("no library")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert memory_gib("auto") == pytest.approx(machine_bytes() / GIB, abs=0.01)
    assert memory_gib("cuda") == 0


def test_a_container_has_no_more_than_its_bound(tmp_path: Path) -> None:
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for bound, found in (("max\n", whole), (f"{2**62}\n", whole), (f"{GIB}\n", GIB)):
        (tmp_path / "memory.max").write_text(bound)
        assert machine_bytes((tmp_path / "nowhere", tmp_path / "memory.max")) == found


def test_a_driver_that_hangs_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ASK_SECONDS", 0.0)
    assert memory_gib("cuda") == 0
