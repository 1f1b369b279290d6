"""The command `strop`: `strop NOUN VERB`, each one call of the client and one way of showing it.

program.py   the table of nouns, the global flags, errors and exit codes
verb.py      what a verb is, and how it shows things
jobs.py files.py images.py models.py choices.py   a file a noun
follow.py    a watched job as a live bar, or as lines where there is no terminal
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # read when grpc is imported; else its notices stand between our lines

from strop.cli.program import main

__all__ = ["main"]
