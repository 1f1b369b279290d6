import errno

import pytest
import torch

from service.domain.errors import JobFailure
from worker.child.failures import explain, fitting


class TestExplain:
    def test_passes_on_what_a_job_failure_says(self) -> None:
        said = explain(JobFailure("lower the rate", code="nan_loss"))
        assert (said.code, said.message, said.retry) == ("nan_loss", "lower the rate", False)

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory"),
            MemoryError(),
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
            RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
        ],
    )
    def test_tells_want_of_memory_with_a_remedy_and_does_not_try_again(self, error: Exception) -> None:
        said = explain(error)
        assert (said.code, said.retry) == ("out_of_memory", False)
        for remedy in ("gradient_checkpointing: true", "method.micro_batch", "method.prompts_per_step"):
            assert remedy in said.message

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
    def test_tells_a_full_disk_which_another_worker_may_not_have(self, number: int) -> None:
        said = explain(OSError(number, "full", "/scratch/checkpoint-3"))
        assert (said.code, said.retry) == ("disk_full", True)
        assert "STROP_SCRATCH_DIR" in said.message

    def test_keeps_the_words_of_a_fault_of_ours(self) -> None:
        said = explain(KeyError("unet"))
        assert (said.code, said.message) == ("internal_error", "KeyError: 'unet'")


class TestFitting:
    @pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
    def test_weights_that_do_not_fit_ask_for_another_worker_and_for_no_smaller_batch(self, error: Exception) -> None:
        with (
            pytest.raises(JobFailure, match=r"weights of the base model 'flux-dev'.*needs\.memory_gib") as failure,
            fitting("base model 'flux-dev'"),
        ):
            raise error
        assert failure.value.code == "out_of_memory"
        assert "micro_batch" not in failure.value.message

    def test_everything_else_is_what_it_was(self) -> None:
        with pytest.raises(RuntimeError, match="no kernel image"), fitting("base model 'sd15'"):
            raise RuntimeError("CUDA error: no kernel image is available")
