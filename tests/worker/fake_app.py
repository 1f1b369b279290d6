"""`celery -A tests.worker.fake_app worker`: the real worker, but for its children, which only speak the pipe's words."""

import sys
from pathlib import Path

from service import settings
from worker.app import create_app

FAKE_CHILD = (sys.executable, "-P", str(Path(__file__).parent / "attempt" / "fake_child.py"))

app = create_app(settings.load(), FAKE_CHILD)
