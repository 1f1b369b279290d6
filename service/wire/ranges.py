"""Stored files over HTTP: one range (RFC 9110 §14), validators from its SHA-256, types that cannot run.

Several ranges in one request are answered with the whole file, as the RFC allows.
"""

import re
from collections.abc import Callable, Iterator
from itertools import chain
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.domain.artifacts import Artifact
from service.wire.problems import RangeNotSatisfiable

_RANGE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})")
SHOWN = ("image/png",)
"""Types that a browser may show in place; others are downloads."""

FIXED = "private, max-age=31536000, immutable"
"""Cache-Control of an address that means the same file for ever."""
MOVING = "private, no-cache"
"""Of one that may mean another tomorrow: kept, and asked about each time, by its ETag."""


def serve(
    request: Request, file: Artifact, read: Callable[[int, int], Iterator[bytes]], *, keep: str = FIXED
) -> Response:
    """The file or its range; `read(start, end)` yields bytes from start up to, not including, end. `keep`: for how long
    the asker may take it for what lies there.
    """
    tag = f'"{file.sha256}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": keep,
        "Content-Disposition": disposition(file.name, inline=file.media_type in SHOWN),
    }
    if matches(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range") if request.headers.get("if-range", tag) == tag else None
    chosen = chosen_range(asked, file.bytes)
    start, end = chosen or (0, file.bytes)
    headers["Content-Length"] = str(end - start)
    if chosen:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.bytes}"
    status = 206 if chosen else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=file.media_type)
    pieces = read(start, end)
    first = next(
        pieces, b""
    )  # before the status is out: a file that is gone or a store that is away is a problem, not half a file
    return StreamingResponse(chain((first,), pieces), status, headers, file.media_type)


def chosen_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(start, end), end not included; None for the whole file. Raises RangeNotSatisfiable."""
    match = _RANGE.fullmatch(header.replace(" ", "")) if header else None
    if match is None or not (match["first"] or match["last"]):
        return None
    if not match["first"]:
        start, end = max(0, size - int(match["last"])), size
    else:
        start = int(match["first"])
        end = min(size, int(match["last"]) + 1) if match["last"] else size
        if match["last"] and int(match["last"]) < start:
            return None
    if start >= size or start >= end:
        raise RangeNotSatisfiable(size)
    return start, end


def matches(if_none_match: str | None, tag: str) -> bool:
    """Weak comparison (RFC 9110 §13.1.2)."""
    if not if_none_match:
        return False
    given = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return "*" in given or tag.removeprefix("W/") in given


def disposition(name: str, *, inline: bool) -> str:
    plain = "".join(mark if mark.isascii() and (mark.isalnum() or mark in "._- ") else "_" for mark in name)
    kind = "inline" if inline else "attachment"
    return f'{kind}; filename="{plain}"' + (f"; filename*=UTF-8''{quote(name, safe='')}" if plain != name else "")
