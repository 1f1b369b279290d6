"""Receipts through the engine: measured between the steps of others, the base in plain diffusers, one call too many seen."""

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import uvicorn
from diffusers import StableDiffusionPipeline

from service.adapters.inference import Endpoint, NotMeasured
from service.domain.catalogue import BaseModelEntry, Catalogue, RewardModelEntry
from service.domain.errors import JobFailure
from service.domain.ids import TenantId
from service.domain.recipes import Recipe
from service.domain.rewards import ClipReward, JpegCompressibilityReward, SceneReward
from tests.eventually import eventually
from tests.servers.processes import free_port
from tests.worker.inference.conftest import KEY, Deliver
from tests.worker.inference.pictures import random_adapter
from tests.worker.inference.receipts.site import Site
from worker.evaluation.receipt_sides import foreign_layers
from worker.inference.engine.requests import Draw, Worn
from worker.inference.receipts.desk import WAITING
from worker.inference.receipts.judges import NOBODY, Judging, knows

TWO = {"prompts": ["red", "blue"], "seeds": [0, 1]}


@pytest.fixture
def red(deliver: Deliver, sd_folder: Path) -> str:
    return deliver(random_adapter(sd_folder, 0))


class TestPost:
    def test_measures_the_adapter_beside_plain_diffusers(self, site: Site, red: str) -> None:
        receipt = site.measured(**TWO)
        assert (receipt.adapter, receipt.base_model, receipt.family) == (red, "tiny", "sd")
        assert (receipt.calls.base, receipt.calls.adapter, receipt.calls.ratio) == (6.0, 6.0, 1.0)
        assert receipt.drawing.base_sha256 != receipt.drawing.adapter_sha256
        assert receipt.reward.reward["type"] == "jpeg-compressibility"
        assert (receipt.held_out, receipt.held_out_missing) == (None, NOBODY)
        assert (receipt.break_even.training_nfe, receipt.break_even.training_fe) == (1, 1.0)
        assert receipt.torch_version == torch.__version__
        assert foreign_layers(site.loaded[0].denoiser) != [], "the engine has put the adapter on"

    def test_by_default_draws_the_jobs_prompts_from_seeds_that_count_up(self, site: Site, red: str) -> None:
        receipt = site.measured()
        assert (receipt.drawing.prompts_from, receipt.drawing.prompt_count) == ("training", 1)
        assert receipt.drawing.seeds == (0, 1, 2, 3)

    def test_the_base_is_drawn_without_any_layer_of_ours(
        self, site: Site, red: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[list[str]] = []
        own = StableDiffusionPipeline.__call__

        def watched(pipeline: StableDiffusionPipeline, *given: Any, **named: Any) -> Any:
            seen.append(foreign_layers(pipeline.unet))
            return own(pipeline, *given, **named)

        monkeypatch.setattr(StableDiffusionPipeline, "__call__", watched)
        site.measured(**TWO)
        assert len(seen) > 1
        assert seen == [[]] * len(seen)

    def test_a_planted_call_makes_the_receipt_fail(self, site: Site, red: str) -> None:
        """In the engine's own path: one step is computed twice."""
        site.engine.exclusively(site.base, lambda served: None).result(30)
        family = site.loaded[0]
        own, calls = family.predict, itertools.count()

        def dear(*given: Any, **named: Any) -> Any:
            if next(calls) % 3 == 0:  # the first of a picture's three steps
                own(*given, **named)
            return own(*given, **named)

        family.predict = dear  # type: ignore[method-assign]
        receipt = site.measured(**TWO)
        assert receipt.verdict == "failed"
        assert "denoiser calls" in receipt.reasons[0]

    def test_answers_at_once_and_is_followed(self, site: Site, red: str) -> None:
        first = site.ask(wait=0, adapter=red, **TWO)
        assert (first.status_code, first.json()["receipt"]) == (202, None)
        place = first.headers["Location"]
        assert place == f"/v1/receipts/{first.json()['id']}"
        done = site.http.get(place, headers={"Prefer": "wait=30"}).json()
        assert (done["status"], done["progress"], done["error"]) == ("completed", 1.0, None)

    def test_lets_others_draw_in_between(self, site: Site, red: str) -> None:
        """Pictures that are asked for while a long receipt is measured come before its end."""
        asked = site.ask(wait=0, adapter=red, prompts=["red"], seeds=list(range(96))).json()
        place = f"/v1/receipts/{asked['id']}"
        eventually(lambda: site.http.get(place).json()["progress"] > 0, 30)
        drawn = site.engine.submit(Draw("local", site.base, (), "blue", "", 1, 7, 3, 2.0)).result(30)
        assert drawn.nfe == 6
        assert site.http.get(place).json()["status"] == "in_progress"

    def test_pictures_of_others_are_the_same_beside_it(self, site: Site, red: str) -> None:
        with site.database.read() as unit:
            version = unit.adapters.find(TenantId("local"), "red-things", 1)
        assert version is not None
        worn = (Worn(site.fetch(TenantId("local"), version), red, version.file.sha256),)
        draw = Draw("local", site.base, worn, "blue", "", 1, 7, 3, 2.0, batch_size=1)
        alone = site.engine.submit(draw).result(30)
        asked = site.ask(wait=0, adapter=red, prompts=["red"], seeds=list(range(16))).json()
        beside = [site.engine.submit(draw).result(30) for _ in range(5)]
        site.http.get(f"/v1/receipts/{asked['id']}", headers={"Prefer": "wait=30"})
        assert all(np.array_equal(each.pictures, alone.pictures) for each in beside)

    def test_of_the_same_question_joins_the_one_that_waits(self, site: Site, red: str) -> None:
        ids = {site.ask(wait=0, adapter=red, **TWO).json()["id"] for _ in range(5)}
        assert len(ids) == 1

    def test_is_refused_when_too_many_wait(self, site: Site, red: str) -> None:
        entered, leave = threading.Event(), threading.Event()
        site.engine.exclusively(site.base, lambda served: (entered.set(), leave.wait()))
        entered.wait()
        answers = [site.ask(wait=0, adapter=red, prompts=["red"], seeds=[place]) for place in range(WAITING + 3)]
        leave.set()
        assert answers[-1].status_code == 429
        assert "Retry-After" in answers[-1].headers

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ({"adapter": "nothing"}, 404, "not_found"),
            ({"adapter": "tiny"}, 404, "not_found"),
            ({"adapter": "red-things", "prompts": ["red", "blue"], "seeds": [1]}, 422, "invalid_request"),
            ({"adapter": "red-things", "prompts": []}, 422, "invalid_request"),
            ({"adapter": "red-things", "prompts": ["x"] * 65}, 422, "invalid_request"),
            ({"adapter": "red-things", "seeds": [-1]}, 422, "invalid_request"),
            ({"adapter": "red-things", "seeds": list(range(513))}, 422, "invalid_request"),
            ({"adapter": "red-things", "steps": 3}, 422, "invalid_request"),
            ({}, 422, "invalid_request"),
        ],
    )
    def test_refuses_what_it_cannot_measure(
        self, site: Site, red: str, body: dict[str, Any], status: int, code: str
    ) -> None:
        answer = site.ask(wait=0, **body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)

    def test_that_fails_says_why_and_the_next_goes_on(
        self, site: Site, red: str, deliver: Deliver, sd_folder: Path
    ) -> None:
        deliver(b"not a safetensors file")
        failed = site.ask(adapter="red-things@2", **TWO).json()
        assert (failed["status"], failed["error"]["code"]) == ("failed", "adapter_corrupt")
        assert site.ask(adapter="red-things@1", **TWO).json()["status"] == "completed"


class TestGet:
    def test_of_what_it_does_not_know_is_404(self, site: Site) -> None:
        assert site.http.get("/v1/receipts/rcpt_1").json()["code"] == "not_found"

    def test_needs_the_key(self, site: Site) -> None:
        assert site.http.get("/v1/receipts/rcpt_1", headers={"Authorization": ""}).status_code == 401


RECIPE = {
    "base_model": "shapes", "prompts": ("a red circle",), "prompts_sha256": "", "prompt_count": 1,
    "base": BaseModelEntry(name="shapes", source="/x", family="sd", resolution=64),
}  # fmt: skip
SCENE, CAT = ["a red circle left of a blue square"], ["kittens"]


class TestJudges:
    @pytest.fixture
    def judging(self, clip_folder: Path) -> Judging:
        """Two CLIPs that spell words letter by letter; one in no folder; one to be fetched."""
        entries = {
            name: RewardModelEntry(name=name, source=source, type="clip", revision=revision)
            for name, source, revision in (
                ("own", str(clip_folder), ""), ("nowhere", "/nowhere", ""), ("far", "hub:owner/clip", "abc"),
                ("other", str(clip_folder), ""),
            )
        }  # fmt: skip
        return Judging(Catalogue(rewards=entries), Path("/no-cache"), "cpu")

    def recipe(self, judging: Judging, reward: Any) -> Recipe:
        entry = judging.catalogue.rewards.get(reward.model) if isinstance(reward, ClipReward) else None
        return Recipe.model_validate({**RECIPE, "reward": reward, "reward_model": entry})

    def test_of_scenes_is_the_exact_oracle(self, judging: Judging) -> None:
        found = judging.judges(self.recipe(judging, ClipReward(type="clip", model="own")), RECIPE["base"], SCENE)  # type: ignore[arg-type]
        assert (found.job.recipe, found.missing) == ({"type": "clip", "model": "own"}, None)
        assert found.held_out is not None
        assert found.held_out.recipe["type"] == "scene"

    def test_of_other_prompts_or_sizes_is_a_clip_that_knows_the_words(
        self, judging: Judging, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base = RECIPE["base"]
        for reward in (ClipReward(type="clip", model="own"), SceneReward(type="scene")):
            found = judging.judges(self.recipe(judging, reward), base, CAT)  # type: ignore[arg-type]
            assert (found.held_out, found.missing) == (None, NOBODY), "these spell every letter"
        monkeypatch.setattr("worker.inference.receipts.judges.TOKENS_A_WORD", 10)
        found = judging.judges(self.recipe(judging, ClipReward(type="clip", model="own")), base, CAT)  # type: ignore[arg-type]
        assert found.held_out is not None
        assert found.held_out.recipe == {"type": "clip", "model": "other"}
        large = RECIPE["base"].model_copy(update={"resolution": 512})  # type: ignore[attr-defined]
        found = judging.judges(self.recipe(judging, JpegCompressibilityReward(type="jpeg-compressibility")), large, CAT)
        assert found.held_out is not None
        assert found.held_out.recipe["model"] == "own"

    def test_of_prompts_that_are_cut_off_is_none(self, clip_folder: Path) -> None:
        assert not knows(clip_folder, ["a b c d e f g h i j k l m n o p"])
        assert knows(clip_folder, ["a b c d"])

    def test_needs_the_jobs_own_reward_as_it_was(self, judging: Judging) -> None:
        recipe = self.recipe(judging, ClipReward(type="clip", model="own"))
        posted = recipe.model_copy(
            update={"reward_model": recipe.reward_model.model_copy(update={"revision": "sha256:old"})}  # type: ignore[union-attr]
        )
        with pytest.raises(JobFailure, match="another revision"):
            judging.judges(posted, recipe.base, CAT)


class TestTheStewardsDoor:
    """The steward's HTTP client against this endpoint, over a real socket."""

    @pytest.fixture
    def url(self, site: Site) -> Iterator[str]:
        port = free_port()
        server = uvicorn.Server(uvicorn.Config(site.app, port=port, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        eventually(lambda: server.started, 30)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join()

    def test_gets_the_receipt_and_is_heard_meanwhile(self, site: Site, red: str, url: str) -> None:
        beats: list[int] = []
        receipt = Endpoint(url, KEY).measure(red, lambda: beats.append(1))
        assert (receipt.adapter, receipt.calls.ratio) == (red, 1.0)

    def test_tells_what_it_is_refused_with(self, url: str) -> None:
        with pytest.raises(NotMeasured, match="there is no adapter"):
            Endpoint(url, KEY).measure("nothing@1", lambda: None)
        with pytest.raises(NotMeasured, match="key"):
            Endpoint(url, "a-wrong-key-here").measure("nothing@1", lambda: None)

    def test_finds_nobody_where_nobody_listens(self) -> None:
        assert not Endpoint("http://127.0.0.1:1", KEY).is_there()
