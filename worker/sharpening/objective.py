"""The preference loss (Eq. 11) as functions of errors: log-likelihood ratios are differences of denoising errors."""

from torch import Tensor
from torch.nn.functional import logsigmoid


def error(prediction: Tensor, target: Tensor) -> Tensor:
    """‖ε̂ − ε‖² / (C·H·W), in fp32: [B]"""
    return (prediction.float() - target.float()).square().flatten(1).mean(dim=1)


def relative(errors: Tensor, reference: Tensor) -> Tensor:
    """Errors of best and worst in units of the reference's mean error on the two: [Q, 2] → [Q, 2]"""
    return errors / reference.mean(dim=1, keepdim=True)


def preference_logit(policy: Tensor, reference: Tensor, beta: float) -> Tensor:
    """β·log-ratio_best − β·log-ratio_worst from errors [Q, 2]; a log-ratio is −Δ, Δ = err_policy − err_reference: [Q]"""
    delta = relative(policy - reference, reference)
    return -beta * (delta[:, 0] - delta[:, 1])


def preference_loss(logit: Tensor) -> Tensor:
    """−log σ: log 2 where policy and reference agree. [B]"""
    return -logsigmoid(logit)
