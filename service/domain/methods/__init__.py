"""The training methods that a recipe may name, as a tagged union, each hyper-parameter with its bound and its default."""

from typing import Annotated

from pydantic import BaseModel, Field

from service.domain.methods.common import Trained
from service.domain.methods.rivals import DDPO, SFT, DiffusionDPO, ForwardProcess, OnlineDPO
from service.domain.methods.sharpening import SharpeningRLHF, SharpeningSFT

__all__ = [
    "DDPO",
    "METHODS",
    "SFT",
    "DiffusionDPO",
    "ForwardProcess",
    "Method",
    "OnlineDPO",
    "SharpeningRLHF",
    "SharpeningSFT",
    "Trained",
]

Method = Annotated[
    SharpeningRLHF | SharpeningSFT | OnlineDPO | DiffusionDPO | DDPO | SFT | ForwardProcess, Field(discriminator="type")
]
METHODS: tuple[type[BaseModel], ...] = (
    SharpeningRLHF, SharpeningSFT, OnlineDPO, DiffusionDPO, DDPO, SFT, ForwardProcess,
)  # fmt: skip
