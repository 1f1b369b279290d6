"""Receipts are measured for the steward, checked and signed once, whoever else tries to."""

import hashlib
import json
from pathlib import Path

import pytest

from service.adapters import keys
from service.domain.artifacts import Kind
from service.domain.errors import Unavailable
from service.domain.principals import LOCAL
from service.domain.receipts import NotNow, Receipt, SignedReceipt, Stage, Verdict, statement
from service.operations.receipts import MissingReceipt, Receipts, Subject
from service.operations.signing import FIRST_WAIT, TRIES, NotWhatWasAsked, check
from tests.service.operations.conftest import Steward, receipts_of
from tests.service.receipts import PlannedMeasurer, measured, of_subject, published
from tests.service.world import World, run_at_once


def wait_is_over(world: World) -> None:
    world.sql("UPDATE receipts SET not_before = '2020-01-01 00:00:00.000' WHERE not_before IS NOT NULL")


def seconds_until_due(world: World) -> float:
    clock = (
        "EXTRACT(epoch FROM not_before - now())"
        if world.on_postgresql
        else "(julianday(not_before) - julianday('now')) * 86400"
    )
    return float(world.sql(f"SELECT {clock} FROM receipts")[0][0])


class TestSigning:
    def test_signs_what_was_measured_and_keeps_it_beside_the_manifest(
        self, world: World, receipts: Receipts, steward: Steward, key: keys.SigningKey
    ) -> None:
        version = published(world)
        assert receipts.of(LOCAL, "red-things@1").stage is Stage.PENDING
        assert steward().turn() == 1
        row, file = receipts.of(LOCAL, "red-things"), receipts.signed(LOCAL, "red-things@1")
        assert (row.stage, row.verdict, row.tries, row.key_id) == (Stage.SIGNED, Verdict.PASSED, 1, key.key_id)
        assert file.key.rsplit("/", 1)[0] == version.manifest_key.rsplit("/", 1)[0]
        assert file.kind is Kind.RECEIPT
        assert file in world.artifacts.list(LOCAL, version.job)
        content = b"".join(world.artifacts.read(file))
        signed = SignedReceipt.model_validate_json(content)
        assert signed.canonical() == content
        assert signed.receipt == of_subject(receipts.subject(LOCAL, version.reference, None, None))
        assert signed.sha256 == signed.receipt.sha256 == row.sha256
        key._private.public_key().verify(bytes.fromhex(signed.signature), statement(signed.sha256, signed.key_id))
        assert [(each.id, each.raw) for each in receipts.public_keys()] == [(key.key_id, key.public)]

    def test_of_an_adapter_that_costs_more_is_signed_as_failed(
        self, world: World, receipts: Receipts, steward: Steward
    ) -> None:
        published(world)
        dear = PlannedMeasurer(receipts_of(world), lambda subject: of_subject(subject, measured(ratio=1.05)))
        assert steward(dear).turn() == 1
        assert receipts.of(LOCAL, "red-things").verdict is Verdict.FAILED

    def test_takes_the_newest_first_and_each_once(self, world: World, steward: Steward) -> None:
        for _ in range(3):
            published(world)
        measurer = PlannedMeasurer(receipts_of(world))
        signing = steward(measurer)
        assert [signing.turn() for _ in range(5)] == [1, 1, 1, 0, 0]
        assert measurer.asked == ["red-things@3", "red-things@2", "red-things@1"]

    def test_asks_nothing_of_an_endpoint_that_is_away(self, world: World, receipts: Receipts, steward: Steward) -> None:
        published(world)
        assert steward(PlannedMeasurer(receipts_of(world), there=False)).turn() == 0
        assert receipts.of(LOCAL, "red-things").tries == 0

    @pytest.mark.parametrize(
        ("part", "change"),
        [
            ("", {"adapter": "red-things@2"}), ("", {"adapter_sha256": "a" * 64}), ("", {"manifest_sha256": "a" * 64}),
            ("", {"job": "job_x"}), ("", {"base_model": "x"}), ("", {"base_revision": "sha256:other"}),
            ("", {"family": "flux"}),
            ("drawing", {"prompts_from": "request"}), ("drawing", {"prompts_sha256": "a" * 64}),
            ("drawing", {"prompt_count": 2}), ("drawing", {"seeds": (0, 1, 2, 7)}), ("drawing", {"seeds": (0, 1, 2)}),
            ("drawing", {"batch_sizes": (2,)}), ("drawing", {"num_inference_steps": 1}),
            ("drawing", {"guidance_scale": 1.0}), ("drawing", {"resolution": 32}),
            ("reward", {"reward": {"type": "jpeg-compressibility"}}),
            ("held_out", {"reward": {"type": "clip", "model": "shapes-clip"}}),
            ("break_even", {"training_nfe": 1}), ("break_even", {"training_fe": 1.0}),
        ],
    )  # fmt: skip
    def test_signs_nothing_about_another_file_or_another_sample(
        self, world: World, receipts: Receipts, steward: Steward, part: str, change: dict[str, object]
    ) -> None:
        published(world)

        def measured_otherwise(subject: Subject) -> Receipt:
            honest = of_subject(subject)
            inner = getattr(honest, part) or honest.reward if part else honest
            changed = inner.model_copy(update=change)
            return honest.model_copy(update={part: changed}) if part else changed

        assert steward(PlannedMeasurer(receipts, measured_otherwise)).turn() == 0
        row = receipts.of(LOCAL, "red-things@1")
        assert (row.stage, row.verdict) == (Stage.PENDING, None)
        assert "measured" in (row.error or "")

    def test_of_another_revision_of_the_base_is_refused_by_its_code(self, world: World, receipts: Receipts) -> None:
        published(world)
        subject = receipts.subject(LOCAL, "red-things", None, None)
        check(of_subject(subject), subject)
        with pytest.raises(NotWhatWasAsked, match="another base model's revision") as refused:
            check(of_subject(subject, base_revision="sha256:other"), subject)
        assert refused.value.code == "catalogue_changed"

    def test_an_endpoint_that_cannot_now_costs_no_try_and_is_asked_when_it_said(
        self, world: World, receipts: Receipts, steward: Steward
    ) -> None:
        published(world)
        busy = PlannedMeasurer(receipts, lambda subject: NotNow("nine wait", retry_after=600))
        for _ in range(TRIES + 2):
            assert steward(busy).turn() == 0
            assert seconds_until_due(world) == pytest.approx(600, abs=20)
            wait_is_over(world)
        row = receipts.of(LOCAL, "red-things")
        assert (row.stage, row.spent, row.error) == (Stage.PENDING, 0, "nine wait")
        assert steward().turn() == 1

    def test_a_fault_of_our_own_counts_like_any_other(self, world: World, receipts: Receipts, steward: Steward) -> None:
        published(world)
        broken = PlannedMeasurer(receipts, lambda subject: KeyError("id"))
        for _ in range(TRIES):
            assert steward(broken).turn() == 0
            wait_is_over(world)
        row = receipts.of(LOCAL, "red-things")
        assert (row.stage, row.spent) == (Stage.GIVEN_UP, TRIES)
        assert "KeyError" in (row.error or "")

    def test_so_does_a_steward_that_dies_of_it(self, world: World, receipts: Receipts, steward: Steward) -> None:
        published(world)
        for _ in range(TRIES):
            with world.database.write() as unit:
                assert unit.receipts.ask(LOCAL.tenant, 60) is not None
            wait_is_over(world)
        measurer = PlannedMeasurer(receipts)
        assert steward(measurer).turn() == 0
        assert (receipts.of(LOCAL, "red-things").stage, measurer.asked) == (Stage.GIVEN_UP, [])

    def test_tries_again_later_and_gives_up_in_the_end(
        self, world: World, receipts: Receipts, steward: Steward
    ) -> None:
        published(world)
        away = PlannedMeasurer(receipts_of(world), lambda subject: Unavailable("the endpoint went away"))
        signing = steward(away)
        for tries in range(1, TRIES + 1):
            assert signing.turn() == 0
            assert len(away.asked) == tries
            assert signing.turn() == 0, "not before its time"
            assert len(away.asked) == tries
            wait_is_over(world)
        row = receipts.of(LOCAL, "red-things")
        assert (row.stage, row.spent, row.error) == (Stage.GIVEN_UP, TRIES, "the endpoint went away")
        with pytest.raises(MissingReceipt, match="given up after 5 tries"):
            receipts.signed(LOCAL, "red-things")
        with world.database.write() as unit:
            assert unit.receipts.ask_again(LOCAL.tenant, "red-things", 2) == 0
            assert unit.receipts.ask_again(LOCAL.tenant) == 1
        assert steward().turn() == 1

    def test_the_wait_doubles(self, world: World, steward: Steward) -> None:
        published(world)
        signing = steward(PlannedMeasurer(receipts_of(world), lambda subject: Unavailable()))
        for tries in range(1, TRIES):
            signing.turn()
            assert seconds_until_due(world) == pytest.approx(FIRST_WAIT * 2 ** (tries - 1), abs=20)
            wait_is_over(world)

    def test_gives_back_what_it_was_at_when_it_is_stopped(
        self, world: World, receipts: Receipts, steward: Steward
    ) -> None:
        published(world)
        assert steward(is_stopping=lambda: True).turn() == 0
        assert receipts.of(LOCAL, "red-things").stage is Stage.PENDING
        assert steward().turn() == 1, "at once"


class TestTwoStewards:
    def test_never_ask_for_the_same_at_the_same_time(self, world: World, steward: Steward) -> None:
        for _ in range(3):
            published(world)
        measurers = [PlannedMeasurer(receipts_of(world)) for _ in range(3)]
        done = run_at_once([steward(each).turn for each in measurers])
        assert done == [1, 1, 1]
        assert sorted(reference for each in measurers for reference in each.asked) == [
            f"red-things@{version}" for version in (1, 2, 3)
        ]

    def test_leave_it_to_the_one_that_asked_last(self, world: World, receipts: Receipts, steward: Steward) -> None:
        """The first's lease ends while it measures, and the second has only begun: the first may write nothing any more."""
        published(world)

        def overtaken() -> None:
            wait_is_over(world)
            with world.database.write() as unit:
                assert unit.receipts.ask(LOCAL.tenant, 60) is not None

        assert steward(PlannedMeasurer(receipts_of(world), while_measuring=overtaken)).turn() == 0
        row = receipts.of(LOCAL, "red-things")
        assert (row.stage, row.tries, row.error) == (Stage.PENDING, 2, None)

    def test_sign_one_receipt_though_one_came_back_from_a_long_sleep(
        self, world: World, receipts: Receipts, steward: Steward
    ) -> None:
        """The first measures so long that its lease ends; the second signs meanwhile; the first may change nothing."""
        version = published(world)
        second = steward()

        def overtaken() -> None:
            wait_is_over(world)
            assert second.turn() == 1

        first = PlannedMeasurer(
            receipts_of(world), lambda subject: of_subject(subject, measured(gain=0.3)), while_measuring=overtaken
        )
        assert steward(first).turn() == 0
        signed = SignedReceipt.model_validate_json(b"".join(world.artifacts.read(receipts.signed(LOCAL, "red-things"))))
        assert signed.receipt == of_subject(receipts.subject(LOCAL, version.reference, None, None)), "the second's"
        assert len([each for each in world.artifacts.list(LOCAL, version.job) if each.kind is Kind.RECEIPT]) == 1

    def test_sign_one_receipt_though_the_first_slept_between_its_file_and_its_row(
        self, world: World, receipts: Receipts, steward: Steward, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        published(world)
        second = steward()
        put = world.store.put_file

        def slow(key: str, path: Path) -> None:
            put(key, path)
            if key.endswith("receipt-1.json"):
                wait_is_over(world)
                assert second.turn() == 1

        monkeypatch.setattr(world.store, "put_file", slow)
        assert (
            steward(PlannedMeasurer(receipts_of(world), lambda subject: of_subject(subject, measured(gain=0.3)))).turn()
            == 0
        )
        file = receipts.signed(LOCAL, "red-things")
        assert file.name == "receipt-2.json"
        content = json.loads(b"".join(world.artifacts.read(file)))
        assert content["receipt"]["reward"]["gain"] == 0.1, (
            "the second's, whole: the first wrote under a key of its own"
        )

    def test_sign_nothing_in_the_name_of_a_try_before_an_operator_had_it_asked_for_again(
        self, world: World, receipts: Receipts, steward: Steward, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A steward of try 1 sleeps with its file in its hands; it is given up, asked for again, and a new try begun."""
        published(world)
        measurer = PlannedMeasurer(receipts, lambda subject: of_subject(subject, measured(gain=0.2)))
        put = world.store.put_file

        def slow(key: str, path: Path) -> None:
            if key.endswith("receipt-1.json"):
                monkeypatch.setattr(world.store, "put_file", put)
                wait_is_over(world)
                broken = steward(PlannedMeasurer(receipts, lambda subject: Unavailable("it is broken")))
                while receipts.of(LOCAL, "red-things").stage is Stage.PENDING:
                    assert broken.turn() == 0
                    wait_is_over(world)
                with world.database.write() as unit:
                    assert unit.receipts.ask_again(LOCAL.tenant) == 1
                    assert unit.receipts.ask(LOCAL.tenant, 60) is not None
                assert receipts.of(LOCAL, "red-things").spent == 1
            put(key, path)

        monkeypatch.setattr(world.store, "put_file", slow)
        assert steward(measurer).turn() == 0, "the sleeper signs nothing"
        assert receipts.of(LOCAL, "red-things").stage is Stage.PENDING
        wait_is_over(world)
        assert steward().turn() == 1
        file = receipts.signed(LOCAL, "red-things")
        content = b"".join(world.artifacts.read(file))
        assert hashlib.sha256(content).hexdigest() == file.sha256
        assert file.name == f"receipt-{TRIES + 2}.json", "no try's file is ever another's"
