"""oneDNN's cache of compiled primitives, bounded.

On a CPU oneDNN compiles a convolution anew for each shape and keeps the last 1024 of them. Calls of many sizes fill that
slowly: half an hour of mixed traffic on a small base was 60 MB, with nothing leaked. A U-Net of SD1.5's has some 60
shapes for each size of call.
"""

import os

CAPACITY = 256


def bound() -> None:
    """To be called before the first convolution of the process: oneDNN reads the variable once. One that is set stays."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(CAPACITY))
