"""From a request to a recipe: what the base model's family has to say to it."""

from typing import Any, ClassVar, cast

import pytest

from service.domain.catalogue import Catalogue
from service.domain.errors import InvalidRequest
from service.domain.recipes import JobRequest, Recipe
from service.operations.resolving import resolve
from service.operations.shelf import Shelf

EMPTY = cast("Shelf", None)
"""Nothing beside the catalogue is named here, so nothing is asked of it."""


def resolved(family: str, *, preview_decoder: str = "", **changes: Any) -> Recipe:
    entry = {"name": "b", "source": "/b", "family": family, "preview_decoder": preview_decoder}
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


class TestPreview:
    METHOD: ClassVar = {"type": "sharpening-rlhf", "preview": "taesd"}

    def test_a_preview_decoder_that_the_catalogue_names_may_be_used(self) -> None:
        assert resolved("sd", preview_decoder="/taesd", method=self.METHOD).method.preview == "taesd"

    def test_one_that_it_does_not_name_is_refused(self) -> None:
        with pytest.raises(InvalidRequest, match="no preview decoder") as refused:
            resolved("sd", method=self.METHOD)
        assert refused.value.code == "no_preview_decoder"
        assert refused.value.errors[0].path == "method.preview"
