"""Stored recipes and the versions that read them."""

import hashlib
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from service.domain.catalogue import Catalogue
from service.domain.recipes import RECIPE_FORMAT, JobRequest, Recipe

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/recipes.md"

FIELDS = {4: "b5153ef618e2e658"}
"""Format → digest of all fields and choices of a recipe, of which an older reader refuses any that it does not know."""


def fields(schema: dict[str, Any]) -> list[str]:
    """Every object's fields and every enumeration's choices."""
    parts = {"Recipe": schema} | schema["$defs"]
    found = [f"{name}.{field}" for name, part in parts.items() for field in part.get("properties", ())]

    def choices(part: Any) -> None:
        if isinstance(part, dict):
            found.extend(map(str, part.get("enum", [part["const"]] if "const" in part else [])))
            for inner in part.values():
                choices(inner)
        elif isinstance(part, list):
            for inner in part:
                choices(inner)

    choices(schema)
    return sorted(found)


def test_what_a_recipe_may_hold_is_what_its_format_says() -> None:
    """Something was added or taken away: raise RECIPE_FORMAT by one and write its digest down here."""
    digest = hashlib.sha256(json.dumps(fields(Recipe.model_json_schema())).encode()).hexdigest()[:16]
    assert {RECIPE_FORMAT: digest} == FIELDS


def test_every_method_that_the_page_of_recipes_proposes_is_accepted() -> None:
    proposed = re.findall(r'`(\{"type": [^`]*\})`', PAGE.read_text(encoding="utf-8"))
    assert len(proposed) >= 3
    for method in map(json.loads, proposed):
        body = {"base_model": "b", "prompts": ["a"], "reward": {"type": "jpeg-compressibility"}, "method": method}
        assert JobRequest.model_validate(body).method.type == method["type"]


def test_every_base_of_the_shipped_catalogue_says_how_much_memory_it_takes() -> None:
    """The small world runs on any worker; what has more weights asks for more."""
    shipped = Catalogue.parse((ROOT / "catalogue.toml").read_text(encoding="utf-8"), root=PurePosixPath("/")).bases
    said = {name: entry.memory_gib or 0 for name, entry in shipped.items()}
    assert 0 < said["shapes"] <= 1 < said["sd15"] <= said["sdxl"] < said["sd35-medium"] < said["flux-dev"]
    assert said["flux-dev"] == said["flux-schnell"] < 47, "FLUX.1 by the defaults (44.6 GiB measured) fits a GPU of 48"
