"""The micro-batch is kept by every method, also where a state's candidates do not fit into one; and it changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch

from tests.worker.sharpening import brute
from tests.worker.sharpening.toy import Toy, settings, world
from worker.sharpening.beta import Beta
from worker.sharpening.ddpo import ddpo_step
from worker.sharpening.forward import forward_step
from worker.sharpening.offline import diffusion_dpo_step, plain_sft_step
from worker.sharpening.paper import paper_step
from worker.sharpening.sft import rollout_step, sft_step
from worker.sharpening.step import step
from worker.sharpening.update import Memory, Step
from worker.sharpening.world import Settings

OWN = settings(candidates=5, walk_steps=10, trajectory_length=3)
WEIGHED = replace(OWN, temperature=0.5)
PROMPTS = 3
METHODS: dict[str, Callable[..., Step]] = {
    "pairs": partial(step, OWN),
    "renoised": partial(step, replace(OWN, states="renoised")),
    "guided": partial(step, replace(OWN, loss_guidance=4.0)),
    "path-weights": partial(step, WEIGHED),
    "paper": partial(paper_step, OWN),
    "diffusion-dpo": partial(diffusion_dpo_step, OWN),
    "sharpening-sft": partial(sft_step, OWN, 0.1, False),
    "sharpening-sft, all": partial(sft_step, WEIGHED, 0.1, False),
    "sharpening-sft, rollouts": partial(rollout_step, OWN, 0.1),
    "sft": partial(plain_sft_step, OWN, 0.1, False),
    "sft, all": partial(plain_sft_step, OWN, 0.1, True),
    "ddpo": partial(ddpo_step, OWN, 1.0, 1e9, 2),
    "forward-process": partial(forward_step, OWN, 1.0, 0.75, 0.1),
}
WHOLE = 6
"""Most pictures of one state: the paper's two walks of three."""

every_method = pytest.mark.parametrize("name", METHODS)


def updated(toy: Toy, name: str, micro_batch: int) -> Step:
    """One update away from the reference and from the old policy."""
    own: Settings
    own, *others = METHODS[name].args  # type: ignore[attr-defined]
    method = METHODS[name].func  # type: ignore[attr-defined]
    memory = Memory(Beta(value=3.0, fixed=True))
    if name == "forward-process":
        memory = replace(memory, tensors={"old/0": 0.5 * toy.theta.detach() + 0.02})
    done: Step = method(replace(own, micro_batch=micro_batch), *others, world(toy), memory, 2, range(PROMPTS))
    return done


@every_method
@pytest.mark.parametrize("micro_batch", [1, 2, 3, 5])
class TestMicroBatch:
    def test_no_call_has_more_pictures(self, name: str, micro_batch: int) -> None:
        toy = Toy()
        updated(toy, name, micro_batch)
        assert max(toy.calls) == micro_batch

    def test_the_gradient_is_that_of_whole_states(self, name: str, micro_batch: int) -> None:
        whole, parts = (updated(Toy(), name, size) for size in (64, micro_batch))
        assert brute.distance(parts.gradient[0], whole.gradient[0]) < 1e-5
        assert parts.metrics.loss == pytest.approx(whole.metrics.loss, rel=1e-5)

    def test_each_picture_is_differentiated_once_and_at_most_one_forward_more_is_paid(
        self, name: str, micro_batch: int
    ) -> None:
        """The policy's errors without a graph, where a loss of several pictures is split. The forward process keeps what
        the old policy said instead."""
        whole, parts = Toy(), Toy()
        updated(whole, name, 64)
        updated(parts, name, micro_batch)
        graded = [sum(row.graded for row in toy.rows) for toy in (whole, parts)]
        assert graded[0] == graded[1]
        pictures = {"path-weights": 5, "paper": WHOLE}.get(name, 2)  # of one loss
        chains = name in ("pairs", "renoised", "guided", "path-weights", "paper", "diffusion-dpo")
        more = graded[0] if chains and micro_batch < pictures else 0
        assert len(parts.rows) - len(whole.rows) == more


@pytest.mark.parametrize(("name", "most"), [("pairs", 8), ("renoised", 8), ("ddpo", 2)])
def test_a_search_may_make_larger_calls_and_finds_the_same(name: str, most: int) -> None:
    """Where nothing that is compared with a gradient's own forward comes from it: DDPO's ratios do."""
    whole, searched = Toy(), Toy()
    own, *others = METHODS[name].args  # type: ignore[attr-defined]
    steps = [
        METHODS[name].func(own, *others, world(toy), Memory(Beta(value=3.0, fixed=True)), 2, range(PROMPTS))  # type: ignore[attr-defined]
        for toy, own in (
            (whole, replace(own, micro_batch=2)),
            (searched, replace(own, micro_batch=2, search_factor=4)),
        )
    ]
    torch.testing.assert_close(steps[1].gradient[0], steps[0].gradient[0], rtol=1e-5, atol=1e-9)
    assert max(whole.calls) == 2
    assert max(searched.calls) == most
    assert len(searched.rows) == len(whole.rows)


def test_beta_is_calibrated_on_the_same_gaps() -> None:
    gaps = [step(replace(WEIGHED, micro_batch=size), world(Toy()), Memory(), 0, range(PROMPTS)) for size in (64, 2)]
    one, other = (torch.tensor(done.memory.beta.gaps) for done in gaps)
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-9)
