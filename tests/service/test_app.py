"""The gateway's process."""

import subprocess
import sys

GPU = {"torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "safetensors"}


def test_holds_no_gpu_module_in_a_fresh_interpreter() -> None:
    """The gateway's image has none of them in it."""
    words = [sys.executable, "-c", "import service.app, service.manage, sys; print(*sys.modules)"]
    loaded = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    assert "fastapi" in loaded
    assert not GPU & set(loaded)
