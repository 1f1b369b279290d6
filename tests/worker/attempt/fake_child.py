"""A child without torch that speaks the pipe's words. The job's metadata say how it behaves:

play     finish (default) | silent | breathing | deaf | numb | flood | shout | crash | killed | oom | nan | full | lost | garbled | chatty |
         parting | escape
seconds  how long a step takes (default 0.01)
best     from which step on its checkpoint is said to be the best
waits    after this step the first attempt goes on only when it is told to stop (default: it does not wait)
"""

import ctypes
import hashlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import IO, NoReturn

from worker.child.files import write_whole
from worker.child.lifeline import Lifeline
from worker.pipe import Begin, Failed, FileMade, Finished, Message, Ready, Report, Still, receive, send


class Fake:
    def __init__(self, begin: Begin, down: IO[bytes], up: IO[bytes]) -> None:
        self.begin, self.up = begin, up
        self.lifeline = Lifeline(down, begin.lease_seconds)
        self.scratch = Path(begin.scratch)
        self.seconds = float(begin.recipe["metadata"].get("seconds", 0.01))
        self.waits = int(begin.recipe["metadata"].get("waits", -1))
        resumed = begin.checkpoint_path
        kept = Path(resumed).read_text() if resumed else "0"
        if not kept.isdigit():
            self.say(Failed("checkpoint_damaged", "the checkpoint's digest does not fit its content", retry=False))
            sys.exit(0)
        self.step = self.saved = int(kept)
        self.first = self.scratch.name.endswith("-1")
        self.say(Ready("cpu", self.step if resumed else None))

    def say(self, message: Message) -> None:
        send(self.up, message)

    def file(self, name: str, kind: str, data: bytes) -> FileMade:
        made = write_whole(self.scratch, name, kind, self.step, data)
        self.say(made)
        return made

    def checkpoint(self) -> None:
        self.saved = self.step
        self.file(f"checkpoint-{self.step}.safetensors", "checkpoint", str(self.step).encode())
        best = int(self.begin.recipe["metadata"].get("best", 0))
        data = {"name": f"checkpoint-{self.step}.safetensors", "best_step": best if 0 < best <= self.step else None}
        self.say(Report("job.checkpoint", self.step, data))

    def replay(self) -> None:
        """What a replay meets: the digest of the checkpoint that its steps lead to."""
        until = self.begin.recipe["replay"]["to_step"]
        found = hashlib.sha256(str(until).encode()).hexdigest()
        self.say(Finished(until, None, (until - self.step) * 10, (until - self.step) * 12.5, found_sha256=found))

    def train(self) -> None:
        recipe = self.begin.recipe
        while self.step < recipe["steps"]:
            while self.first and self.step == self.waits and not self.lifeline.stop:
                time.sleep(0.01)
            if stop := self.lifeline.stop:
                if stop.checkpoint and self.saved != self.step:
                    self.checkpoint()
                self.say(Finished(self.step, stop.reason, self.step * 10, self.step * 12.5))
                return
            time.sleep(self.seconds)
            self.step += 1
            reward = {"mean": 0.5, "best": 0.75, "worst": 0.25}
            progress = {
                "training_nfe": self.step * 10,
                "training_fe": self.step * 12.5,
                "training_seconds": self.step / 4,
            }
            data = {"reward": reward, "loss": 0.5, "seconds": self.seconds, "seconds_left": 1.0, **progress}
            self.say(Report("job.step", self.step, data))
            if self.step % recipe["checkpoint_every"] == 0:
                self.checkpoint()
        self.file(
            "pytorch_lora_weights.safetensors", "adapter", b"adapter of " + Path(self.begin.prompts_path).read_bytes()
        )
        self.say(Finished(self.step, None, self.step * 10, self.step * 12.5))


def play(name: str, fake: Fake) -> None:  # noqa: PLR0912 - one branch a play
    match name:
        case "finish" if fake.begin.recipe["replay"]:
            fake.replay()
        case "finish":
            fake.train()
        case "silent":
            signal.pause()
        case "breathing":  # at one thing for a second, with signs of life
            for _ in range(20):
                time.sleep(0.05)
                fake.say(Still())
            fake.train()
        case "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                fake.say(Report("job.log", fake.step, {"lines": ["I do not hear you"]}))
                time.sleep(0.05)
        case "numb":  # hangs in C, holding the interpreter, and no signal but SIGKILL gets through
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            ctypes.PyDLL(None).sleep(1000)
        case "flood":  # says so much that it never looks at what it is told
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                fake.say(Report("job.log", fake.step, {"lines": ["and another thing"]}))
        case "shout":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                sys.stdout.write("and another thing\n")
        case "crash":
            raise RuntimeError("out of ideas")
        case "killed":
            fake.checkpoint()
            os.kill(os.getpid(), signal.SIGKILL)
        case "oom":
            fake.say(Failed("out_of_memory", "the GPU is full: lower candidates", retry=False))
        case "nan":
            fake.step = 2
            fake.checkpoint()
            fake.say(Failed("nan_loss", "the loss is not a number any more at step 3", retry=False))
        case "full":
            fake.say(Failed("disk_full", "the scratch folder's disk is full", retry=True))
        case "lost":
            fake.say(Failed("device_unavailable", "no GPU is to be seen", retry=True))
        case "garbled":
            fake.up.write(b"hello?\n")
            fake.up.flush()
            signal.pause()
        case "chatty":
            for number in range(1000):
                sys.stdout.write(f"line {number}\n")
            fake.train()
        case "parting":  # leaves a process of its own behind, which holds the pipes of its output
            if os.fork() == 0:
                signal.pause()
            fake.train()
        case "escape":  # the same in a session of its own, which no signal to the group reaches
            if os.fork() == 0:
                os.setsid()
                time.sleep(20)
                os._exit(0)
            fake.train()


def main() -> NoReturn:
    down, up = os.fdopen(int(sys.argv[-2]), "rb"), os.fdopen(int(sys.argv[-1]), "wb")
    begin = next(receive(down))
    assert isinstance(begin, Begin)
    play(begin.recipe["metadata"].get("play", "finish"), Fake(begin, down, up))
    sys.exit(0)


if __name__ == "__main__":
    main()
