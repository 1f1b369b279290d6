"""Each reward against an independent way to the same number."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from service.domain.errors import JobFailure
from service.domain.rewards import ClipReward, JpegCompressibilityReward, SceneReward
from worker.rewards.make import make
from worker.rewards.reward import Checked
from worker.shapes.render import render
from worker.shapes.scene import parse

PROMPTS = ["a red dot", "blue", "no"]


def pictures(count: int = 3) -> Tensor:
    return torch.randint(0, 256, (count, 64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


class TestClip:
    def test_is_the_cosine_of_the_models_own_forward(self, clip_folder: Path) -> None:
        model, tokenizer = CLIPModel.from_pretrained(clip_folder), CLIPTokenizer.from_pretrained(clip_folder)
        pixels = CLIPImageProcessorPil.from_pretrained(clip_folder)(list(pictures().numpy()), return_tensors="pt")
        tokens = tokenizer(PROMPTS, padding="max_length", truncation=True, return_tensors="pt")
        with torch.no_grad():
            expected = model(**pixels, **tokens).logits_per_image.diagonal() / model.logit_scale.exp()
        scores = make(ClipReward(type="clip", model="any"), folder=clip_folder)(pictures(), PROMPTS)
        torch.testing.assert_close(scores, expected, atol=1e-6, rtol=1e-5)
        assert scores.std() > 1e-3

    def test_long_prompts_are_cut(self, clip_folder: Path) -> None:
        reward = make(ClipReward(type="clip", model="any"), folder=clip_folder)
        assert reward(pictures(1), ["a very long prompt indeed"]).isfinite().all()

    def test_a_folder_without_a_model_is_a_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(JobFailure) as failure:
            make(ClipReward(type="clip", model="any"), folder=tmp_path)
        assert failure.value.code == "reward_unloadable"

    def test_want_of_memory_is_nothing_that_is_wrong_with_the_folder(
        self, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(CLIPModel, "from_pretrained", lambda *given, **named: torch.empty(2**55))
        with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
            make(ClipReward(type="clip", model="any"), folder=clip_folder)

    def test_a_device_without_room_is_no_fault_of_the_folder(
        self, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(CLIPModel, "to", full)
        with pytest.raises(torch.OutOfMemoryError):
            make(ClipReward(type="clip", model="any"), folder=clip_folder)


class TestScene:
    PROMPT = "a red circle left of a blue square"

    def drawn(self, prompt: str) -> Tensor:
        return torch.from_numpy(np.array(render(parse(prompt), np.random.default_rng(0))))[None]

    def test_a_render_of_the_prompt_is_exact_and_another_is_not(self) -> None:
        partial, exact = (make(SceneReward(type="scene", exact=exact)) for exact in (False, True))
        swapped = self.drawn("a blue square left of a red circle")
        assert exact(self.drawn(self.PROMPT), [self.PROMPT]).tolist() == [1.0]
        assert exact(swapped, [self.PROMPT]).tolist() == [0.0]
        assert 0 < partial(swapped, [self.PROMPT]).item() < partial(self.drawn(self.PROMPT), [self.PROMPT]).item()

    def test_another_worlds_prompt_ends_the_job(self) -> None:
        with pytest.raises(JobFailure) as failure:
            make(SceneReward(type="scene"))(pictures(1), ["a photo of a cat"])
        assert failure.value.code == "reward_error"


class TestJpeg:
    def test_is_minus_the_kilobytes(self) -> None:
        file = BytesIO()
        Image.fromarray(pictures().numpy()[1]).save(file, "JPEG", quality=80)
        scores = make(JpegCompressibilityReward(type="jpeg-compressibility", quality=80))(pictures(), PROMPTS)
        assert scores[1].item() == pytest.approx(-len(file.getvalue()) / 1000)

    def test_smooth_pictures_score_high(self) -> None:
        reward = make(JpegCompressibilityReward(type="jpeg-compressibility"))
        grey = torch.full((1, 64, 64, 3), 128, dtype=torch.uint8)
        assert reward(grey, ["no"]) > reward(pictures(1), ["no"])


class TestChecked:
    @pytest.mark.parametrize(
        ("scores", "word"),
        [([0.1, float("nan"), 0.2], "finite"), ([0.1, 0.2], "one for each"), ([[1.0]] * 3, "one for")],
    )
    def test_nonsense_ends_the_job_with_a_sentence(self, scores: list, word: str) -> None:
        with pytest.raises(JobFailure, match=word) as failure:
            Checked("odd", lambda pictures, prompts: torch.tensor(scores))(pictures(), PROMPTS)
        assert failure.value.code == "reward_error"

    @pytest.mark.parametrize("words", [["8.4/10"] * 3, None, {"score": 7.0}])
    def test_words_are_no_scores_and_never_become_some(self, words: object) -> None:
        with pytest.raises(JobFailure, match="no numbers") as failure:
            Checked("chatty", lambda pictures, prompts: words)(pictures(), PROMPTS)  # type: ignore[arg-type,return-value]
        assert failure.value.code == "reward_error"
