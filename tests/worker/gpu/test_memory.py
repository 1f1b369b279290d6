"""What the parent knows of the GPU without torch is what torch knows."""

import pytest
import torch

from worker.attempt.memory import check_device, driver_bytes, memory_gib


def test_the_drivers_memory_is_torchs() -> None:
    assert driver_bytes(0) == pytest.approx(torch.cuda.get_device_properties(0).total_memory, rel=0.02)
    assert memory_gib("auto") == memory_gib("cuda:0") == pytest.approx(driver_bytes(0) / 2**30, abs=0.01)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    check_device("cuda:0")
    with pytest.raises(OSError, match="STROP_DEVICE is cuda:9"):
        check_device("cuda:9")
