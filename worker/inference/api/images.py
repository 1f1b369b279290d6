"""A request for pictures, from words to a place in the engine's queue: resolve the names, check what the base model bounds."""

import secrets
from dataclasses import dataclass
from datetime import datetime

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import FieldError, InvalidRequest, NotFound
from service.domain.principals import Principal
from worker.inference.adapters.cache import AdapterCache
from worker.inference.adapters.names import Chosen, Names, Resolved, Weighted
from worker.inference.api.answers import Model
from worker.inference.api.shapes import ImageRequest
from worker.inference.engine.engine import Engine
from worker.inference.engine.requests import Draw, Ticket, Watch, Worn


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that the engine has taken."""

    principal: Principal
    request: ImageRequest
    resolved: Resolved
    draw: Draw
    ticket: Ticket

    @property
    def size(self) -> str:
        return f"{self.draw.base.resolution}x{self.draw.base.resolution}"


@dataclass(frozen=True, slots=True)
class Images:
    """What the images API begins, whichever way the answer goes."""

    names: Names
    adapters: AdapterCache
    engine: Engine

    def begin(self, principal: Principal, request: ImageRequest, watch: Watch | None = None) -> Begun:
        """Puts it into the queue; adapters load meanwhile. Raises InvalidRequest, QueueFull, Unavailable."""
        wanted = [Weighted(each.name, each.weight) for each in request.adapters]
        resolved = self.names.resolve(principal, request.model, wanted)
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
            scheduler=request.scheduler,
            batch_size=request.batch_size,
            partials=request.partial_images,
        )
        return Begun(principal, request, resolved, draw, self.engine.submit(draw, watch))

    def models(self, principal: Principal) -> list[Model]:
        """The names that `model` may be: base models, each adapter's versions, and the aliases that point to them."""
        return [_model(each.id, each.created_at, each.owner) for each in self.names.list(principal)]

    def model(self, principal: Principal, name: str) -> Model:
        """One of them by its name. Raises NotFound."""
        try:
            worn = self.names.resolve(principal, name).adapters
        except InvalidRequest as refused:
            raise NotFound(refused.errors[0].message) from None
        if not worn:
            return _model(name, None, "catalogue")
        return _model(name, worn[0].version.created_at, worn[0].version.tenant)

    def _worn(self, principal: Principal, chosen: Chosen) -> Worn:
        version = chosen.version
        loading = self.adapters.fetch(principal.tenant, version)
        return Worn(loading, version.reference, version.file.sha256, chosen.weight)


def _model(name: str, created_at: datetime | None, owner: str) -> Model:
    return Model(id=name, created=int(created_at.timestamp()) if created_at else 0, owned_by=owner)


def _check_size(request: ImageRequest, base: BaseModelEntry) -> None:
    only = f"{base.resolution}x{base.resolution}"
    if request.size not in (None, "auto", only):
        wrong = FieldError("size", f"{base.name} draws {only}, not {request.size}", f"send {only}, or leave size out")
        raise InvalidRequest(errors=(wrong,), code="unsupported_size")
