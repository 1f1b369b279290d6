"""`celery -A benchmarks.queue.ours worker`: the real worker, but for its child."""

import sys
from pathlib import Path

from service import settings
from worker.app import create_app

app = create_app(settings.load(), (sys.executable, "-P", str(Path(__file__).with_name("child.py"))))
