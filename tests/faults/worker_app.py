"""`celery -A tests.faults.worker_app worker`: the real worker, built as FAULTS_BUILD says, with the child of FAULTS_CHILD."""

import os
import sys
from pathlib import Path

from service import settings
from tests.faults import builds
from worker.app import create_app
from worker.attempt.process import CHILD

HERE = Path(__file__).parent
CHILDREN = {
    "real": CHILD,
    "fake": (sys.executable, "-P", str(HERE / "child.py")),
    "strange": (sys.executable, "-P", "-m", "tests.faults.strange_child"),
}

builds.take_out()
app = create_app(settings.load(), CHILDREN[os.environ.get("FAULTS_CHILD", "fake")])
