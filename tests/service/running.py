"""What the real gateway is started with in tests: a catalogue of one base and one reward model, a key, any free gRPC port."""

from pathlib import Path

import pytest

from service.settings import Settings

KEY = "a-key-of-sixteen"
CATALOGUE = """
[bases.shapes]
source = "base"
family = "sd"
resolution = 64
num_inference_steps = 10
guidance_scale = 2.0
licence = "Apache-2.0"

[rewards.shapes-clip]
source = "clip"
type = "clip"
"""


def settings_of(database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """By the environment, as an operator gives them."""
    (folder / "catalogue.toml").write_text(CATALOGUE)
    given = {
        "STATE_DIR": folder, "CATALOGUE": folder / "catalogue.toml", "DATABASE_URL": database_url,
        "API_KEY": KEY, "GRPC_PORT": 0,
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(f"STROP_{name}", str(value))
    return Settings()
