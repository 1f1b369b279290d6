"""`client.images`: pictures of a base model or an adapter, from the inference endpoint (OpenAI's images API)."""

import base64
import binascii
from collections.abc import Callable

from strop.errors import StropError
from strop.records import Image
from strop.web import Web

DRAWING_SECONDS = 600.0
"""Pictures may wait behind others', and a CPU draws slowly."""


class Images:
    """Pictures."""

    def __init__(self, web: Web, endpoint: Callable[[], str]) -> None:
        self._web, self._endpoint = web, endpoint

    def generate(
        self,
        model: str,
        prompt: str,
        n: int = 1,
        *,
        seed: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
    ) -> list[Image]:
        """Draw n pictures with a base model, an adapter (its newest version) or adapter@version; picture i from seed + i.

        Raises InvalidRequest, and RateLimited or Unavailable where waiting did not help.
        """
        asked = {
            "model": model, "prompt": prompt, "n": n, "seed": seed, "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale, "negative_prompt": negative_prompt, "response_format": "b64_json",
        }  # fmt: skip
        body = {name: value for name, value in asked.items() if value is not None}
        url = f"{self._endpoint()}/v1/images/generations"
        answer = self._web.post(url, answer_seconds=DRAWING_SECONDS, json=body)
        try:
            return [
                Image(
                    png=base64.b64decode(each["b64_json"], validate=True),
                    seed=each["seed"],
                    nfe=answer["usage"]["nfe_per_image"],
                    model=answer["model"],
                    warnings=tuple(answer.get("warnings", ())),
                )
                for each in answer["data"]
            ]
        except (KeyError, TypeError, binascii.Error) as error:
            raise StropError(f"{url} does not answer as Strop does ({error!r})", code="unreadable_answer") from error
