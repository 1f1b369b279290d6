"""`python -m worker.child DOWN UP`: one attempt, told by Begin on the pipe DOWN, answered on UP (numbers of descriptors)."""

import os
import sys
import traceback
from contextlib import suppress

from service.domain.errors import JobFailure
from worker import pipe
from worker.child.lifeline import Lifeline


def main() -> None:
    """The lifeline comes first: from then on the child ends with its parent, even while torch is being imported."""
    handles = int(sys.argv[1]), int(sys.argv[2])
    for handle in handles:
        os.set_inheritable(handle, False)
    down, up = os.fdopen(handles[0], "rb"), os.fdopen(handles[1], "wb")
    begin = next(pipe.receive(down), None)
    if not isinstance(begin, pipe.Begin):
        return
    lifeline = Lifeline(down, begin.lease_seconds)

    def say(message: pipe.Message) -> None:
        pipe.send(up, message)

    from worker.child.failures import explain

    try:
        from worker.child.run import run

        run(begin, say, lambda: lifeline.stop)
    except BrokenPipeError:
        return
    except Exception as error:
        if not isinstance(error, JobFailure):
            traceback.print_exc()
        with suppress(BrokenPipeError):
            say(explain(error))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # the memory goes back now: nothing that the models left behind is worth being torn down in order
