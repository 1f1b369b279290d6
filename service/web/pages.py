"""Routes for the page's static files: read once at start, served from memory, with headers that let nothing foreign in.

The files are public, as the key check (service.wire.guard) knows by their paths. Nothing that a caller sends becomes a
path on the disk: a name is looked up among the files that were read.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from starlette.responses import Response

from service.domain.errors import NotFound
from service.wire import ranges

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Page:
    content: bytes
    media_type: str
    etag: str


def install(app: FastAPI, pictures_from: str | None = None) -> None:
    """Add the page to `app`. `pictures_from`: the address of the store whose presigned links the page may show."""
    pages = {file.name: _read(file) for file in sorted(STATIC.iterdir()) if file.suffix in TYPES}
    headers = strict_headers(pictures_from)

    def index(request: Request) -> Response:
        return _answer(request, pages["index.html"], headers)

    def file(request: Request, name: str) -> Response:
        if name not in pages:
            raise NotFound("The page has no file of that name.")
        return _answer(request, pages[name], headers)

    app.add_api_route("/", index, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/ui/{name}", file, methods=["GET", "HEAD"], include_in_schema=False)


def strict_headers(pictures_from: str | None = None) -> dict[str, str]:
    """Scripts and styles from files of ours only, never from text in the page; no frame around it; no referrer sent."""
    pictures = "'self' data: blob:"
    if pictures_from:
        address = urlsplit(pictures_from)
        pictures += f" {address.scheme}://{address.netloc}"
    policy = (
        "default-src 'self'", f"img-src {pictures}", "object-src 'none'", "base-uri 'none'", "form-action 'none'",
        "frame-ancestors 'none'", "require-trusted-types-for 'script'",
    )  # fmt: skip
    return {
        "Content-Security-Policy": "; ".join(policy),
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",  # kept, but asked for each time: a new version of the gateway shows at once
    }


def _read(file: Path) -> Page:
    content = file.read_bytes()
    return Page(content, TYPES[file.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _answer(request: Request, page: Page, headers: Mapping[str, str]) -> Response:
    out = {**headers, "ETag": page.etag}
    if ranges.matches(request.headers.get("if-none-match"), page.etag):
        return Response(status_code=304, headers=out)
    if request.method == "HEAD":
        return Response(headers={**out, "Content-Length": str(len(page.content))}, media_type=page.media_type)
    return Response(page.content, headers=out, media_type=page.media_type)
