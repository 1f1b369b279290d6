"""Is this a whole picture? By the containers of PNG, JPEG and WebP alone: no decoder runs in the gateway.

PNG is checked to its last CRC, JPEG from marker to marker, WebP by its chunks; the pixels are decoded by the worker.
"""

import struct
import zlib

MIN_SIDE, MAX_SIDE = 16, 8192
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2}


def fault_of_image(content: bytes) -> str | None:
    """What is wrong with a picture, or None."""
    if content.startswith(_PNG):
        size = _png_size(content)
    elif content.startswith(b"\xff\xd8\xff"):
        size = _jpeg_size(content)
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        size = _webp_size(content)
    else:
        return "it is not a PNG, JPEG or WebP picture"
    if size is None:
        return "the picture is cut off or damaged"
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        return f"the picture has {size[0]} x {size[1]} pixels"
    return None


def _png_size(content: bytes) -> tuple[int, int] | None:
    place, size, has_data = len(_PNG), None, False
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        if end > len(content) or zlib.crc32(content[place + 4 : end - 4]) != int.from_bytes(content[end - 4 : end]):
            return None
        if kind == b"IHDR" and length == 13:
            size = struct.unpack_from(">II", content, place + 8)
        has_data = has_data or kind == b"IDAT"
        if kind == b"IEND":
            return size if has_data and end == len(content) else None
        place = end
    return None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Walk the segments to the scan; the scan itself must end with the end marker."""
    place, size = 2, None
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4])
        if length < 2 or place + 2 + length > len(content):
            return None
        if marker in _JPEG_FRAMES and length >= 9:
            height, width = struct.unpack_from(">HH", content, place + 5)
            size = (width, height)
        if marker == 0xDA:
            return size if content.rstrip(b"\0").endswith(b"\xff\xd9") else None
        place += 2 + length
    return None


def _webp_size(content: bytes) -> tuple[int, int] | None:
    if len(content) < 30 or int.from_bytes(content[4:8], "little") + 8 != len(content):
        return None
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8 " and content[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and content[20] == 0x2F:
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None
