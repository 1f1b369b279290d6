"""A request for pictures, from words to PNGs: resolve the names, check what the base model bounds, draw, encode."""

import base64
import io
import secrets
from dataclasses import dataclass

import numpy as np
from PIL import Image as PILImage

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import FieldError, InvalidRequest
from service.domain.ports import Clock
from service.domain.principals import Principal
from worker.inference.cache import AdapterCache
from worker.inference.engine import Engine
from worker.inference.names import Chosen, Names
from worker.inference.requests import Draw, Worn
from worker.inference.shapes import Image, ImageAnswer, ImageRequest, Model, Usage


@dataclass(frozen=True, slots=True)
class Images:
    """What the images API does, whichever door it is asked through."""

    names: Names
    adapters: AdapterCache
    engine: Engine
    clock: Clock

    def generate(self, principal: Principal, request: ImageRequest) -> ImageAnswer:
        """Waits for the pictures. Raises InvalidRequest, QueueFull, Unavailable, AdapterCorrupt, JobFailure."""
        resolved = self.names.resolve(principal, request.model)
        _check_size(request, resolved.base)
        draw = Draw(
            tenant=principal.tenant,
            base=resolved.base,
            adapters=tuple(self._worn(principal, each) for each in resolved.adapters),
            prompt=request.prompt,
            negative=request.negative_prompt,
            count=request.n,
            seed=secrets.randbits(32) if request.seed is None else request.seed,
            steps=request.num_inference_steps or resolved.base.num_inference_steps,
            guidance=request.guidance_scale or resolved.base.guidance_scale,
        )
        drawn = self.engine.submit(draw).result()
        return ImageAnswer(
            created=int(self.clock().timestamp()),
            data=[Image(b64_json=_png(each), seed=draw.seed + place) for place, each in enumerate(drawn.pictures)],
            model=resolved.reference,
            size=f"{resolved.base.resolution}x{resolved.base.resolution}",
            usage=Usage(
                images=draw.count,
                nfe=drawn.nfe,
                nfe_per_image=drawn.nfe / draw.count,
                steps=";".join(dict.fromkeys(drawn.steps)),
            ),
            warnings=list(drawn.warnings),
        )

    def _worn(self, principal: Principal, chosen: Chosen) -> Worn:
        """The load begins here, while the request is yet to be queued."""
        version = chosen.version
        loading = self.adapters.fetch(principal.tenant, version)
        return Worn(loading, version.reference, version.file.sha256, chosen.weight)

    def models(self, principal: Principal) -> list[Model]:
        """The names that `model` may be."""
        return [
            Model(id=each.id, created=int(each.created_at.timestamp()) if each.created_at else 0, owned_by=each.owner)
            for each in self.names.list(principal)
        ]


def _check_size(request: ImageRequest, base: BaseModelEntry) -> None:
    only = f"{base.resolution}x{base.resolution}"
    if request.size not in (None, "auto", only):
        wrong = FieldError("size", f"{base.name} draws {only}, not {request.size}", f"send {only}, or leave size out")
        raise InvalidRequest(errors=(wrong,), code="unsupported_size")


def _png(picture: np.ndarray) -> str:
    """uint8 [H, W, 3] → base64."""
    buffer = io.BytesIO()
    PILImage.fromarray(picture).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
