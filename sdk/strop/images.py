"""`client.images`: pictures of a base model or an adapter, from the inference endpoint (OpenAI's images API)."""

import base64
import binascii
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict, TypeVar, Unpack

from strop import refusals
from strop.errors import StropError
from strop.reading import read
from strop.records import Drawing, Image, JobError, Preview
from strop.web import Web

Record = TypeVar("Record")
DRAWING_SECONDS = 600.0
"""Pictures may wait behind others', and a CPU draws slowly."""
LONGEST_PAUSE = 5.0
"""Seconds between two looks at an asynchronous request, at most."""


class Options(TypedDict, total=False):
    """How to draw; what is left out, or None, is the model's own."""

    seed: int | None
    """Picture i is drawn from seed + i; the same seed draws the same picture."""
    num_inference_steps: int | None
    guidance_scale: float | None
    negative_prompt: str | None
    adapters: Mapping[str, float] | Sequence[str] | None
    """Worn beside the model: {name: weight}, or names, each as strongly as it was trained."""
    scheduler: str | None
    """ddim, euler, dpmpp-2m, flow-euler."""
    batch_size: int | None
    """1, 2, 4 or 8: the size of every denoiser call, which pins the bits."""
    output_format: str | None
    """png, jpeg, webp."""
    output_compression: int | None
    """Quality of jpeg and webp in percent."""


class Images:
    """Pictures. `model`: a base model, an adapter (its newest version), adapter@version or adapter@alias."""

    def __init__(self, web: Web, endpoint: Callable[[], str]) -> None:
        self._web, self._endpoint = web, endpoint

    def generate(self, model: str, prompt: str, n: int = 1, **options: Unpack[Options]) -> list[Image]:
        """Draw n pictures and wait for them."""
        url = self._url("generations")
        answer = self._web.post(url, answer_seconds=DRAWING_SECONDS, json=_body(model, prompt, n, options))
        return list(_checked(lambda: _images(answer), url))

    def stream(
        self, model: str, prompt: str, n: int = 1, *, partial_images: int = 3, **options: Unpack[Options]
    ) -> Iterator[Preview | Image]:
        """The same as it comes about: up to 3 previews of each picture, then the pictures. Closing the iterator ends the drawing."""
        url = self._url("generations")
        body = {**_body(model, prompt, n, options), "stream": True, "partial_images": partial_images}
        for event in self._web.events(url, answer_seconds=DRAWING_SECONDS, json=body):
            yield _checked(lambda event=event: _of_event(event), url)  # type: ignore[misc]

    def start(self, model: str, prompt: str, n: int = 1, **options: Unpack[Options]) -> Drawing:
        """Ask for the same and do not wait: `wait` or `get` fetch it later, `cancel` gives it up."""
        url = self._url("generations")
        body = {**_body(model, prompt, n, options), "background": True}
        answer = self._web.post(url, json=body)
        return _checked(lambda: _drawing(answer), url)

    def get(self, id: str) -> Drawing:
        """An asynchronous request as it is now. Raises NotFound, also when its answer is no longer kept."""
        url = self._url(f"requests/{id}")
        answer = self._web.get(url)
        return _checked(lambda: _drawing(answer), url)

    def cancel(self, id: str) -> Drawing:
        """Give it up; one that has ended stays as it is."""
        url = self._url(f"requests/{id}")
        answer = self._web.delete(url)
        return _checked(lambda: _drawing(answer), url)

    def wait(self, id: str, *, timeout: float | None = None) -> list[Image]:
        """Its pictures, when they are there. Raises StropError where it failed or was cancelled; TimeoutError."""
        until = None if timeout is None else time.monotonic() + timeout
        pause = 0.1
        while not (drawing := self.get(id)).ended:
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"{id} is {drawing.status} after {timeout:g} s")
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, 1.5 * pause)
        if drawing.status == "completed":
            return list(drawing.images)
        error = drawing.error or JobError(drawing.status, f"{id} is {drawing.status}")
        raise StropError(error.message, code=error.code)

    def _url(self, what: str) -> str:
        return f"{self._endpoint()}/v1/images/{what}"


def _body(model: str, prompt: str, n: int, options: Options) -> dict[str, Any]:
    asked: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if worn := asked.pop("adapters", None):
        weights = worn.items() if isinstance(worn, Mapping) else [(name, 1.0) for name in worn]
        asked["adapters"] = [{"name": name, "weight": weight} for name, weight in weights]
    return {"model": model, "prompt": prompt, "n": n, "response_format": "b64_json", **asked}


def _images(answer: Any) -> tuple[Image, ...]:
    return tuple(_image(each, answer) for each in answer["data"])


def _image(each: Any, answer: Any) -> Image:
    """One picture; what is said of all of them stands in `answer`."""
    if each.get("withheld") is None and not isinstance(each["b64_json"], str):
        raise TypeError("a picture without its bytes")
    return Image(
        data=base64.b64decode(each["b64_json"] or "", validate=True),
        seed=each["seed"],
        nfe=answer["usage"]["nfe_per_image"],
        model=answer["model"],
        warnings=tuple(answer.get("warnings", ())),
        format=answer.get("output_format", "png"),
        steps=each.get("steps", ""),
        safety=answer.get("safety", "off"),
        withheld=each.get("withheld"),
    )


def _of_event(event: Any) -> Preview | Image:
    if event["type"] == "error":
        raise refusals.of_problem(event["problem"])
    if event["type"] == "image_generation.partial_image":
        data = base64.b64decode(event["b64_json"], validate=True)
        return Preview(data, event["image_index"], event["partial_image_index"], event["output_format"])
    return _image(event, event)


def _drawing(answer: Any) -> Drawing:
    result, progress = answer.get("result"), answer.get("progress") or {}
    return replace(read(Drawing, {**answer, **progress}), images=_images(result) if result else ())


def _checked(make: Callable[[], Record], url: str) -> Record:
    try:
        return make()
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise StropError(f"{url} does not answer as Strop does ({error!r})", code="unreadable_answer") from error
