"""The posted example is accepted as it stands, and trains on nothing that the demo is judged on."""

import json
from pathlib import Path

from service.domain.recipes import JobRequest
from worker.shapes.scene import parse
from worker.shapes.splits import occurrences, prompts

EXAMPLE = JobRequest.model_validate(json.loads(Path("examples/shapes.json").read_text()))


def test_the_example_trains_on_the_training_split() -> None:
    assert EXAMPLE.prompts is not None
    assert set(EXAMPLE.prompts) <= set(prompts("train"))


def test_no_combination_of_a_held_out_prompt_is_trained_on() -> None:
    assert EXAMPLE.prompts is not None
    trained = {one for prompt in EXAMPLE.prompts for one in occurrences(parse(prompt))}
    held_out = {
        one for split in ("validation", "test") for prompt in prompts(split) for one in occurrences(parse(prompt))
    }
    assert held_out
    assert not trained & held_out
