"""Which of torch's attentions training may take."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Inside the block attention is flash, memory-efficient or plain, as torch chooses; never cuDNN's, its choice on Hopper.

    On an H200 (torch 2.11) cuDNN's backward gave a bf16 FLUX gradients that were garbage, or an illegal address. Its graphs
    are suspected to be kept without the layout of the gradient that they were built for, as pytorch/pytorch#191576 tells
    of another path: FLUX hands over a slice here and a whole tensor there. It is also wrong for masks of some lengths
    (pytorch/pytorch#196678).
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
