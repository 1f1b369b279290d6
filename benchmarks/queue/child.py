"""A child without torch that takes two short steps and writes down when it ended: into the file that the job's metadata name.

Like one with torch it takes a while to go after its last word: what its parent does in that time is not the queue's.
"""

import os
import sys
import time
from pathlib import Path

from tests.worker.attempt.fake_child import Fake
from worker.pipe import Begin, receive

LEAVING_SECONDS = 0.5


def main() -> None:
    down, up = os.fdopen(int(sys.argv[-2]), "rb"), os.fdopen(int(sys.argv[-1]), "wb")
    begin = next(receive(down))
    assert isinstance(begin, Begin)
    Fake(begin, down, up).train()
    time.sleep(LEAVING_SECONDS)
    Path(begin.recipe["metadata"]["exit"]).write_text(repr(time.time()))
    os._exit(0)


if __name__ == "__main__":
    main()
