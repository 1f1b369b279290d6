"""Losses as functions of errors alone: log-likelihood ratios are differences of denoising errors (Eq. 11).

Q states, c candidates at each; weights [Q, c] say which is wanted more (> 0) and which less (< 0).
"""

from torch import Tensor
from torch.nn.functional import logsigmoid


def error(prediction: Tensor, target: Tensor) -> Tensor:
    """‖ε̂ − ε‖² / (C·H·W), in fp32: [B]"""
    return (prediction.float() - target.float()).square().flatten(1).mean(dim=1)


def unit(reference: Tensor, weight: Tensor) -> Tensor:
    """The reference's own error at a state, averaged over its candidates by |weight|: [Q, c] → [Q, 1]"""
    return (reference * weight.abs()).sum(dim=1, keepdim=True) / weight.abs().sum(dim=1, keepdim=True)


def preference_logit(policy: Tensor, reference: Tensor, weight: Tensor, beta: float) -> Tensor:
    """−β Σ w·Δ, Δ = (err_policy − err_reference) / unit: for (best, worst) it is β·log-ratio_best − β·log-ratio_worst. [Q]"""
    delta = (policy - reference) / unit(reference, weight)
    return -beta * (weight * delta).sum(dim=1)


def preference_loss(logit: Tensor) -> Tensor:
    """−log σ: log 2 where policy and reference agree. [B]"""
    return -logsigmoid(logit)
