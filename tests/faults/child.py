"""The tests' child without torch, in trouble by the job's metadata. `_at`: the step after which it begins; unless `always`
is set, only the first attempt is troubled.

die_at     SIGKILL to itself                    hang_at    says nothing more, and holds on to `hold` MB
oom_at     takes memory without end below RLIMIT_AS, and dies of it
full_at    files may have 20 kB from then on (RLIMIT_FSIZE), and its checkpoints have 100 kB
"""

import os
import resource
import signal
import sys
from pathlib import Path

from tests.worker.attempt.fake_child import Fake
from worker.pipe import Begin, Failed, FileMade, Message, Report, receive

ROOM = 64 * 2**20
PADDING = b"\n" * 100_000


class Troubled(Fake):
    def say(self, message: Message) -> None:
        super().say(message)
        if isinstance(message, Report) and message.type == "job.step":
            self._after(message.step)

    def file(self, name: str, kind: str, data: bytes) -> FileMade:
        if "full_at" in self.begin.recipe["metadata"] and kind == "checkpoint":
            data += PADDING
        return super().file(name, kind, data)

    def _after(self, step: int) -> None:
        metadata = self.begin.recipe["metadata"]
        first = Path(self.begin.scratch).name.endswith("-1")

        def due(word: str) -> bool:
            return metadata.get(word) == str(step) and (first or "always" in metadata)

        if due("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if due("oom_at"):
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
            bytearray(2 * ROOM)
        if due("hang_at"):
            held = b"x" * (int(metadata.get("hold", 0)) * 2**20)
            signal.pause()
            del held
        if due("full_at"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def main() -> None:
    down, up = os.fdopen(int(sys.argv[-2]), "rb"), os.fdopen(int(sys.argv[-1]), "wb")
    begin = next(receive(down))
    assert isinstance(begin, Begin)
    if begin.checkpoint_path:
        resumed = Path(begin.checkpoint_path)
        resumed.write_bytes(resumed.read_bytes().removesuffix(PADDING))
    child = Troubled(begin, down, up)
    try:
        child.train()
    except OSError as error:
        child.say(Failed("disk_full", str(error), retry=True))


if __name__ == "__main__":
    main()
