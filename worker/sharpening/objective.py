"""The preference loss (Eq. 11) as functions of errors: log-likelihood ratios are differences of denoising errors."""

from torch import Tensor
from torch.nn.functional import logsigmoid


def error(prediction: Tensor, target: Tensor) -> Tensor:
    """‖ε̂ − ε‖² / (C·H·W), in fp32: [B]"""
    return (prediction.float() - target.float()).square().flatten(1).mean(dim=1)


def preference_logit(delta_best: Tensor, delta_worst: Tensor, beta: float) -> Tensor:
    """β·log-ratio_best − β·log-ratio_worst, where a log-ratio is −Δ and Δ = err_policy − err_reference: [B]"""
    return -beta * (delta_best - delta_worst)


def preference_loss(logit: Tensor) -> Tensor:
    """−log σ: log 2 where policy and reference agree. [B]"""
    return -logsigmoid(logit)
