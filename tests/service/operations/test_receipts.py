"""Receipts: one for each adapter version, what they are about, and what hangs on them."""

import pytest

from service.domain.adapters import AliasRequest
from service.domain.errors import Conflict, InvalidRequest, NotFound
from service.domain.principals import LOCAL
from service.domain.receipts import DEFAULT_PROMPTS, Verdict
from service.operations.receipts import Receipts
from tests.service.operations.conftest import Steward, receipts_of
from tests.service.receipts import PlannedMeasurer, measured, of_subject, published, receipt_of
from tests.service.world import OTHER, World


class TestSubject:
    PROMPTS = tuple(f"a {colour} {shape}" for colour in ("red", "blue", "green", "cyan", "black") for shape in
                    ("circle", "square", "triangle", "cross"))  # fmt: skip

    def test_is_the_validation_then_the_training_prompts_and_seeds_that_count_up(
        self, world: World, receipts: Receipts
    ) -> None:
        published(world, "trained", prompts=self.PROMPTS)
        published(world, "validated", prompts=self.PROMPTS, validation={"prompts": ["a red circle", "a blue square"]})
        trained = receipts.subject(LOCAL, "trained", None, None)
        assert (trained.prompts_from, trained.prompts) == ("training", self.PROMPTS[:DEFAULT_PROMPTS])
        assert trained.seeds == tuple(range(4 * DEFAULT_PROMPTS))
        validated = receipts.subject(LOCAL, "validated", None, None)
        assert (validated.prompts_from, validated.prompts) == ("validation", ("a red circle", "a blue square"))
        assert validated.seeds == tuple(range(8))
        assert validated.spent.training_fe == 960.5

    def test_is_what_the_caller_says(self, world: World, receipts: Receipts) -> None:
        published(world)
        found = receipts.subject(LOCAL, "red-things", ["a  red circle", "a red circle", "a cat"], [7, 8])
        assert (found.prompts, found.prompts_from, found.seeds) == (("a red circle", "a cat"), "request", (7, 8))

    def test_of_an_uploaded_file_is_its_first_prompts(self, world: World, receipts: Receipts) -> None:
        path = world.folder / "prompts.txt"
        path.write_text("a red circle\na blue square\n")
        with path.open("rb") as upload:
            file, _ = world.files.upload(LOCAL, "prompts.txt", upload)
        published(world, prompts=None, prompts_file=file.id)
        assert receipts.subject(LOCAL, "red-things", None, None).prompts == ("a red circle", "a blue square")

    @pytest.mark.parametrize(
        ("prompts", "seeds", "path"),
        [
            (["a red circle"] * 2 + ["a blue square"], [1], "seeds"),
            (["\x00"], None, "prompts"),
            (["a cat"], None, "prompts"),
        ],
    )
    def test_is_refused_where_it_cannot_be_drawn_or_judged(
        self, world: World, receipts: Receipts, prompts: list[str], seeds: list[int] | None, path: str
    ) -> None:
        published(world, reward={"type": "scene"})
        with pytest.raises(InvalidRequest) as refused:
            receipts.subject(LOCAL, "red-things", prompts, seeds)
        assert refused.value.errors[0].path == path

    def test_of_another_tenant_or_of_nothing_is_not_found(
        self, world: World, receipts: Receipts, steward: Steward
    ) -> None:
        published(world)
        steward().turn()
        for principal, reference in ((OTHER, "red-things"), (LOCAL, "blue-things"), (LOCAL, "../x"), (LOCAL, "shapes")):
            for ask in (receipts.of, receipts.signed, lambda who, what: receipts.subject(who, what, None, None)):
                with pytest.raises(NotFound):
                    ask(principal, reference)


def test_a_receipt_that_contradicts_itself_cannot_be_made(world: World) -> None:
    version = published(world)
    for change in ({"verdict": "failed"}, {"reasons": ("it is blue",)}):
        with pytest.raises(ValueError, match="does not follow"):
            receipt_of(version, **change)
    with pytest.raises(ValueError, match="does not follow"):
        receipt_of(version, measured(ratio=2.0), verdict=Verdict.PASSED, reasons=())


class TestDeletedVersion:
    def test_takes_its_receipt_along(self, world: World, steward: Steward) -> None:
        version = published(world)
        steward().turn()
        world.adapters.delete(LOCAL, "red-things@1")
        assert world.sql("SELECT * FROM receipts") == []
        assert [each.kind for each in world.artifacts.list(LOCAL, version.job)] == []
        assert [key for key in world.store.list("jobs/") if "receipt" in key] == []

    def test_is_not_signed_any_more(self, world: World, steward: Steward) -> None:
        published(world)
        measurer = PlannedMeasurer(
            receipts_of(world), while_measuring=lambda: world.adapters.delete(LOCAL, "red-things@1")
        )
        assert steward(measurer).turn() == 0
        assert world.sql("SELECT * FROM receipts") == []


class TestAliasThatNeedsAReceipt:
    def put(self, world: World) -> None:
        world.adapters.put_alias(LOCAL, "red-things", "stable", AliasRequest(version=1, needs_receipt=True))

    def test_moves_to_a_version_whose_receipt_passed(self, world: World, steward: Steward) -> None:
        published(world)
        with pytest.raises(Conflict, match="not been asked for yet") as refused:
            self.put(world)
        assert refused.value.code == "receipt_missing"
        steward().turn()
        self.put(world)
        assert world.models.resolve(LOCAL, "red-things@stable").version == 1  # type: ignore[union-attr]

    def test_does_not_move_to_one_whose_receipt_failed(self, world: World, steward: Steward) -> None:
        published(world)
        steward(PlannedMeasurer(receipts_of(world), lambda subject: of_subject(subject, measured(ratio=1.05)))).turn()
        with pytest.raises(Conflict, match=r"red-things@1 failed") as refused:
            self.put(world)
        assert refused.value.code == "receipt_failed"
