"""From drawn pixels to what is given out: looked at by the safety checker, encoded, in the answer or behind a link."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from service.domain.ids import new_picture_id
from service.domain.outside import Clock
from service.operations.drawn import DrawnFiles
from service.wire.links import Links
from worker.inference.api.answers import CompletedImage, Image, ImageAnswer, PartialImage, Usage
from worker.inference.api.encode import base64_of, encode
from worker.inference.api.images import Begun
from worker.inference.api.safety import SafetyChecker
from worker.inference.engine.requests import Drawn, Partial

FILES = "/v1/images/files/"
"""Where links to pictures begin."""


@dataclass(frozen=True, slots=True)
class Giving:
    """Takes its time (encoding, the store, the checker): not for the event loop, nor for the engine's thread."""

    files: DrawnFiles
    links: Links
    checker: SafetyChecker
    keep_seconds: int
    clock: Clock

    def answer(self, begun: Begun, drawn: Drawn, base_url: str) -> ImageAnswer:
        """Raises SafetyFailed; Unavailable where links were asked for and the store is away."""
        request = begun.request
        reasons = self.checker.reasons(drawn.pictures, request.prompt)
        linked = request.response_format == "url"
        now = self.clock()

        def image(place: int) -> Image:
            given = Image(seed=begun.draw.seed + place, steps=drawn.steps[place], withheld=reasons[place])
            if given.withheld is None:
                data = encode(drawn.pictures[place], request.output_format, request.output_compression)
                if linked:
                    given.url = self._link(begun, data, base_url)
                else:
                    given.b64_json = base64_of(data)
            return given

        return ImageAnswer(
            created=int(now.timestamp()),
            data=[image(place) for place in range(len(drawn.pictures))],
            model=begun.resolved.reference,
            adapters=worn(begun),
            size=begun.size,
            output_format=request.output_format,
            safety=self.checker.state(reasons),
            usage=usage(begun, drawn),
            warnings=list(drawn.warnings),
            expires_at=now + timedelta(seconds=self.keep_seconds) if linked else None,
        )

    def preview(self, begun: Begun, partial: Partial) -> PartialImage | None:
        """None where the safety checker withholds it."""
        reasons = self.checker.reasons(partial.picture[None], begun.request.prompt)
        if reasons[0] is not None:
            return None
        event = self._event(begun, partial.index, partial.picture, reasons)
        return PartialImage(**event, partial_image_index=partial.number - 1)

    def completed(self, begun: Begun, drawn: Drawn) -> Iterator[CompletedImage]:
        """One event a picture, in their order."""
        reasons = self.checker.reasons(drawn.pictures, begun.request.prompt)
        for place, (picture, reason) in enumerate(zip(drawn.pictures, reasons, strict=True)):
            event = self._event(begun, place, None if reason is not None else picture, reasons)
            yield CompletedImage(
                **event,
                usage=usage(begun, drawn),
                steps=drawn.steps[place],
                adapters=worn(begun),
                withheld=reason,
                warnings=list(drawn.warnings),
            )

    def _event(
        self, begun: Begun, place: int, picture: np.ndarray | None, reasons: Sequence[str | None]
    ) -> dict[str, Any]:
        request = begun.request
        data = b"" if picture is None else encode(picture, request.output_format, request.output_compression)
        return {
            "b64_json": base64_of(data),
            "created_at": int(self.clock().timestamp()),
            "output_format": request.output_format,
            "safety": self.checker.state(reasons),
            "size": begun.size,
            "image_index": place,
            "seed": begun.draw.seed + place,
            "model": begun.resolved.reference,
        }

    def _link(self, begun: Begun, data: bytes, base_url: str) -> str:
        name = f"{new_picture_id()}.{begun.request.output_format}"
        tenant = begun.principal.tenant
        self.files.put(tenant, name, data)
        if public := self.files.public_url(tenant, name, self.keep_seconds):
            return public
        token, _ = self.links.token(begun.principal, FILES + name, self.keep_seconds)
        return f"{base_url.rstrip('/')}{FILES}{name}?token={token}"


def usage(begun: Begun, drawn: Drawn) -> Usage:
    count = begun.draw.count
    return Usage(images=count, nfe=drawn.nfe, nfe_per_image=drawn.nfe / count)


def worn(begun: Begun) -> list[str]:
    """red-things@3, and red-things@3 × 0.5 where the weight is not 1."""
    return [
        each.reference if each.weight == 1 else f"{each.reference} × {each.weight:g}" for each in begun.draw.adapters
    ]
