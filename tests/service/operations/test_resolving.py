"""From a request to a recipe: what the base model's family has to say to it."""

from typing import Any, ClassVar, cast

import pytest
from pydantic import BaseModel

from service.domain.catalogue import Catalogue
from service.domain.errors import InvalidRequest
from service.domain.methods import DDPO, METHODS
from service.domain.recipes import JobRequest, Recipe
from service.operations.resolving import resolve
from service.operations.shelf import Shelf

EMPTY = cast("Shelf", None)
"""Nothing beside the catalogue is named here, so nothing is asked of it."""


SERVED = {"num_inference_steps": 33, "guidance_scale": 4.5, "learning_rate": 7e-4}
"""What the catalogue says of pictures and of training."""


def resolved(family: str, *, preview_decoder: str = "", **changes: Any) -> Recipe:
    entry = {"name": "b", "source": "/b", "family": family, "preview_decoder": preview_decoder, **SERVED}
    catalogue = Catalogue.model_validate({"bases": {"b": entry}})
    body = {"base_model": "b", "prompts": ["a cat"], "reward": {"type": "jpeg-compressibility"}, **changes}
    return resolve(JobRequest.model_validate(body), catalogue, EMPTY)


class TestTargets:
    @pytest.mark.parametrize("family", ["sd", "sdxl"])
    def test_a_unet_s_default_is_every_group(self, family: str) -> None:
        assert resolved(family).lora.targets == ("attention", "feed-forward", "conv")

    @pytest.mark.parametrize("family", ["sd3", "flux"])
    def test_a_transformer_s_default_is_every_group_that_it_has(self, family: str) -> None:
        assert resolved(family).lora.targets == ("attention", "feed-forward")
        assert resolved(family, lora={"rank": 4}).lora.rank == 4

    def test_a_convolution_that_a_transformer_has_not_is_refused_with_the_remedy(self) -> None:
        with pytest.raises(InvalidRequest) as refused:
            resolved("flux", lora={"targets": ["attention", "conv"]})
        assert refused.value.code == "lora_targets"
        (error,) = refused.value.errors
        assert (error.path, error.remedy) == ("lora.targets", 'leave "conv" out')

    def test_what_was_chosen_and_fits_stays(self) -> None:
        assert resolved("sd3", lora={"targets": ["attention"]}).lora.targets == ("attention",)


class TestPicturesDrawnInTraining:
    @pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
    def test_are_drawn_as_the_base_model_is_served(self, family: str) -> None:
        """So that samples show, and validation chooses by, what the adapter will draw; the stored recipe says it."""
        recipe = resolved(family, validation={"prompts": ["a dog"]})
        for shown in (recipe.samples, recipe.validation):
            assert shown is not None
            assert (shown.num_inference_steps, shown.guidance) == (33, 4.5)

    def test_what_was_chosen_stays(self) -> None:
        chosen = {"num_inference_steps": 4, "guidance": 1.0}
        recipe = resolved("sd", samples=chosen, validation={"guidance": 2.0})
        assert (recipe.samples.num_inference_steps, recipe.samples.guidance) == (4, 1.0)
        assert recipe.validation is not None
        assert (recipe.validation.num_inference_steps, recipe.validation.guidance) == (33, 2.0)


class TestLearningRate:
    """It goes with a base and its size, so a job that names none has its base's, whatever the method."""

    @pytest.mark.parametrize("method", METHODS)
    def test_is_the_base_model_s_where_the_request_names_none(self, method: type[BaseModel]) -> None:
        (name,) = method.model_fields["type"].annotation.__args__  # type: ignore[union-attr]
        recipe = resolved("sd", method={"type": name})
        assert recipe.method.rate == pytest.approx(recipe.method.share_of_rate * SERVED["learning_rate"])
        assert resolved("sd", method={"type": name, "learning_rate": 2e-3}).method.rate == 2e-3

    @pytest.mark.parametrize(("family", "level"), [("sd", 1.0), ("sdxl", 1.0), ("sd3", 0.7), ("flux", 0.7)])
    def test_and_so_does_the_noise_of_stochastic_rollouts(self, family: str, level: float) -> None:
        for method in ({"type": "ddpo"}, {"type": "ddpo", "learning_rate": 1e-3}):
            found = resolved(family, method=method).method
            assert isinstance(found, DDPO) and found.noise == level

    def test_is_settled_of_the_default_method_too(self) -> None:
        assert (resolved("sd").method.type, resolved("sd").method.rate) == ("forward-process", SERVED["learning_rate"])

    @pytest.mark.parametrize(
        ("method", "share"),
        [
            ({"type": "ddpo"}, 0.3),
            ({"type": "sharpening-rlhf", "paper": True}, 0.1),
            ({"type": "sharpening-sft", "states": "renoised"}, 0.3),
            ({"type": "sharpening-sft"}, 1),
        ],
    )
    def test_is_less_by_methods_that_it_is_too_high_for(self, method: dict[str, Any], share: float) -> None:
        assert resolved("sd", method=method).method.rate == pytest.approx(share * SERVED["learning_rate"])


class TestTheGuard:
    """What learns from good pictures alone is watched: its loss knows no worse ones."""

    TYPES: ClassVar = sorted(str(method.model_fields["type"].annotation.__args__[0]) for method in METHODS)  # type: ignore[union-attr]

    @pytest.mark.parametrize("method", TYPES)
    def test_is_on_for_the_methods_that_learn_from_good_pictures_alone(self, method: str) -> None:
        validation = resolved("sd", method={"type": method}).validation
        assert (validation is not None) == (method in {"sharpening-sft", "sft"})
        if validation is not None:
            assert (validation.keep_best, validation.patience, validation.every, validation.prompts) == (
                True,
                3,
                10,
                (),
            )

    @pytest.mark.parametrize("off", [None, {"every": 0}])
    def test_is_off_where_it_is_not_wanted(self, off: object) -> None:
        """A message of gRPC cannot hold null."""
        assert resolved("sd", method={"type": "sharpening-sft"}, validation=off).validation is None

    def test_a_validation_that_was_given_is_what_it_says(self) -> None:
        given = {"every": 7, "patience": None}
        validation = resolved("sd", method={"type": "sft"}, validation=given).validation
        assert validation is not None
        assert (validation.every, validation.patience) == (7, None)

    @pytest.mark.parametrize(("method", "patience"), [("sft", 3), ("sharpening-sft", 3), ("forward-process", None)])
    def test_stays_on_where_only_its_prompts_or_turns_are_chosen(self, method: str, patience: int | None) -> None:
        validation = resolved("sd", method={"type": method}, validation={"every": 7}).validation
        assert validation is not None
        assert (validation.every, validation.patience) == (7, patience)

    def test_a_clone_without_one_has_none(self) -> None:
        """The stored null of its parent is not a field that was left out."""
        parent = resolved("sd", method={"type": "sft"}, validation=None)
        again = {name: getattr(parent, name) for name in JobRequest.model_fields}
        assert (
            resolved(
                "sd", **JobRequest.model_validate(again).model_dump(exclude={"base_model", "prompts", "reward"})
            ).validation
            is None
        )


class TestNoise:
    """DDIM's step has the variance 1 − ᾱ' of its next state; η above 1 takes more. A flow's SDE has no such bound."""

    @pytest.mark.parametrize("family", ["sd", "sdxl"])
    def test_more_than_ddim_holds_is_refused(self, family: str) -> None:
        assert resolved(family, method={"type": "ddpo", "noise_level": 1.0}).method.type == "ddpo"
        with pytest.raises(InvalidRequest) as refused:
            resolved(family, method={"type": "ddpo", "noise_level": 1.2})
        assert (refused.value.code, refused.value.errors[0].path) == ("noise_level", "method.noise_level")

    @pytest.mark.parametrize("family", ["sd3", "flux"])
    def test_a_flow_may_have_it(self, family: str) -> None:
        assert resolved(family, method={"type": "ddpo", "noise_level": 1.2}).method.type == "ddpo"


class TestWalks:
    """Their schedule of 4 steps, of which the upper quarter is allowed: the one start of a flow is pure noise."""

    SHORT: ClassVar = {"type": "sharpening-sft", "states": "renoised", "walk_steps": 4, "trajectory_length": 1}

    @pytest.mark.parametrize("family", ["sd3", "flux"])
    def test_that_could_only_start_in_pure_noise_are_refused_with_what_would_do(self, family: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            resolved(family, method=self.SHORT)
        (error,) = refused.value.errors
        assert (refused.value.code, error.path) == ("walk_in_noise", "method.walk_steps")
        assert "raise method.walk_steps to 8 or more" in str(error.remedy)
        assert resolved(family, method={**self.SHORT, "walk_steps": 8}).method.type == "sharpening-sft"

    def test_a_diffusion_has_signal_at_its_first_step(self) -> None:
        assert resolved("sd", method=self.SHORT).method.type == "sharpening-sft"

    def test_who_is_judged_on_rollouts_walks_nowhere(self) -> None:
        assert resolved("sd3", method={**self.SHORT, "states": None, "trajectory_length": 2}).method.states == "rollout"


class TestPreview:
    METHOD: ClassVar = {"type": "sharpening-rlhf", "preview": "taesd"}

    def test_a_preview_decoder_that_the_catalogue_names_may_be_used(self) -> None:
        assert resolved("sd", preview_decoder="/taesd", method=self.METHOD).method.preview == "taesd"

    def test_one_that_it_does_not_name_is_refused(self) -> None:
        with pytest.raises(InvalidRequest, match="no preview decoder") as refused:
            resolved("sd", method=self.METHOD)
        assert refused.value.code == "no_preview_decoder"
        assert refused.value.errors[0].path == "method.preview"
