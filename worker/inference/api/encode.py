"""Pictures → bytes in the format that was asked for, and previews small enough to send on the way."""

import base64
import io

import numpy as np
from PIL import Image

from worker.inference.api.shapes import Format

MEDIA_TYPES: dict[Format, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
BEST = 100


def encode(picture: np.ndarray, format: Format, quality: int | None = None) -> bytes:
    """uint8 [H, W, 3] → a file. quality: 0–100 for jpeg and webp, default 100; png keeps every bit."""
    buffer = io.BytesIO()
    image = Image.fromarray(picture)
    chosen = BEST if quality is None else quality
    match format:
        case "png":
            image.save(buffer, "PNG")
        case "jpeg":
            image.save(buffer, "JPEG", quality=max(1, chosen), subsampling=0 if chosen > 90 else 2)
        case "webp":
            image.save(buffer, "WEBP", quality=chosen)
    return buffer.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()
