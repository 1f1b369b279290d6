"""`python -m tests.faults.impatient celery WORDS…`: a Redis that gives a message out again after 2 s without an acknowledgement."""

import runpy
import sys

from kombu.transport import redis

if __name__ == "__main__":
    redis.Channel.visibility_timeout = 2
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
