"""Aliases: names that move from version to version in one step, and never mean nothing on the way."""

import threading
from functools import partial
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from service.domain.adapters import AdapterVersion, AliasRequest, parse_reference
from service.domain.catalogue import Catalogue
from service.domain.errors import Conflict, InvalidRequest, NotFound
from service.domain.principals import LOCAL, Principal
from service.operations.jobs import Jobs
from service.operations.models import MAX_LISTED
from service.operations.once import keyed
from tests.service.world import OTHER, World, run_at_once

MOVES, READERS = 12, 4


def put(world: World, version: int, alias: str = "stable", principal: Principal = LOCAL, **more: Any) -> Any:
    key = more.pop("key", None)
    asked = AliasRequest(version=version, **more)
    request = keyed(key, f"/models/red/aliases/{alias}", asked.model_dump_json().encode(), method="PUT")
    return world.adapters.put_alias(principal, "red", alias, asked, request)


def meaning(world: World, name: str = "red@stable", principal: Principal = LOCAL) -> str:
    found = world.models.resolve(principal, name)
    assert isinstance(found, AdapterVersion)
    return found.reference


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("red", ("red", None)),
        ("red@3", ("red", 3)),
        ("red@stable", ("red", "stable")),
        ("red@v2-beta", ("red", "v2-beta")),
        (f"red@{'a' * 32}", ("red", "a" * 32)),
        (f"red@{'a' * 33}", None),
        *((f"red@{wrong}", None) for wrong in ("", "0", "03", "2x", "-a", "Stable", "a_b", "a@b", "stable\n")),
    ],
)
def test_a_reference_is_a_name_a_version_or_an_alias(text: str, meant: Any) -> None:
    assert parse_reference(text) == meant


class TestPutting:
    def test_makes_then_moves(self, world: World) -> None:
        for _ in range(2):
            world.deliver()
        made, moved = put(world, 1), put(world, 2)
        assert (made.created, moved.created) == (True, False)
        assert (made.alias.reference, made.alias.version, moved.alias.version) == ("red@stable", 1, 2)
        assert moved.alias.updated_at >= made.alias.updated_at
        assert meaning(world) == "red@2"

    def test_leaves_the_bare_name_the_newest(self, world: World) -> None:
        world.deliver()
        put(world, 1)
        world.deliver()
        assert (meaning(world), meaning(world, "red")) == ("red@1", "red@2")

    def test_to_a_version_that_is_not_there_is_refused_with_those_that_are(self, world: World) -> None:
        world.deliver()
        with pytest.raises(InvalidRequest) as refused:
            put(world, 2)
        (wrong,) = refused.value.errors
        assert (refused.value.code, wrong.path, wrong.remedy) == (
            "unknown_version", "version", "name one of its versions: 1",
        )  # fmt: skip

    def test_of_another_tenants_adapter_is_not_there(self, world: World) -> None:
        world.deliver()
        put(world, 1)
        with pytest.raises(NotFound):
            put(world, 1, principal=OTHER)
        with pytest.raises(NotFound):
            meaning(world, principal=OTHER)

    def test_again_under_one_key_moves_nothing_back(self, world: World) -> None:
        for _ in range(2):
            world.deliver()
        put(world, 1, key="k")
        put(world, 2)
        again = put(world, 1, key="k")
        assert (again.replayed, again.alias.version, meaning(world)) == (True, 2, "red@2")
        with pytest.raises(InvalidRequest) as refused:
            put(world, 2, key="k")
        assert refused.value.code == "idempotency_key_reused"

    def test_of_one_new_alias_by_many_at_once_makes_it_once(self, world: World) -> None:
        world.deliver()
        answers = run_at_once([lambda: put(world, 1)] * 8)
        assert sum(each.created for each in answers) == 1

    def test_a_job_that_begins_with_an_alias_keeps_the_version_that_it_meant(self, world: World) -> None:
        for _ in range(2):
            world.deliver()
        put(world, 1)
        job = world.post(start_adapter="red@stable")
        put(world, 2)
        assert world.get(job).recipe.start_adapter == "red@1"


class TestANeededReceipt:
    def test_lets_no_version_through_that_has_none(self, world: World) -> None:
        world.deliver()
        with pytest.raises(Conflict) as refused:
            put(world, 1, needs_receipt=True)
        assert (refused.value.code, "red@1" in refused.value.message) == ("receipt_missing", True)
        with pytest.raises(NotFound):
            meaning(world)

    def test_stays_needed_until_it_is_said_not_to_be(self, world: World) -> None:
        for _ in range(2):
            world.deliver()
        put(world, 1)
        world.sql("UPDATE adapter_aliases SET needs_receipt = TRUE")
        with pytest.raises(Conflict):
            put(world, 2)
        assert meaning(world) == "red@1"
        assert put(world, 2, needs_receipt=False).alias.needs_receipt is False
        assert meaning(world) == "red@2"

    def test_is_not_lost_by_taking_the_alias_away(self, world: World) -> None:
        for _ in range(2):
            world.deliver()
        put(world, 1)
        world.sql("UPDATE adapter_aliases SET needs_receipt = TRUE")
        remove = partial(world.adapters.delete, LOCAL, force=True)
        for gone in (
            lambda: world.adapters.delete_alias(LOCAL, "red", "stable"),
            lambda: remove("red@1"),
            lambda: remove("red"),
        ):
            with pytest.raises(Conflict, match="put it on red@1 with needs_receipt false first") as refused:
                gone()
            assert refused.value.code == "alias_needs_receipt"
        with pytest.raises(Conflict):
            put(world, 2)
        assert world.models.show(LOCAL, "red").versions == (2, 1)
        assert meaning(world) == "red@1"
        put(world, 1, needs_receipt=False)
        world.adapters.delete_alias(LOCAL, "red", "stable")
        assert put(world, 2).created


class TestTakingAway:
    def test_leaves_the_version(self, world: World) -> None:
        world.deliver()
        put(world, 1)
        world.adapters.delete_alias(LOCAL, "red", "stable")
        assert meaning(world, "red@1") == "red@1"
        for gone in (lambda: meaning(world), lambda: world.adapters.delete_alias(LOCAL, "red", "stable")):
            with pytest.raises(NotFound):
                gone()

    def test_again_under_one_key_is_no_error(self, world: World) -> None:
        world.deliver()
        put(world, 1)
        request = keyed("k", "/models/red/aliases/stable", method="DELETE")
        done = [world.adapters.delete_alias(LOCAL, "red", "stable", request) for _ in range(2)]
        assert done == [False, True]


class TestShowing:
    def test_an_adapter_shows_its_versions_and_aliases_under_each_of_its_names(self, world: World) -> None:
        for _ in range(3):
            world.deliver()
        put(world, 2, "stable")
        put(world, 2, "best")
        for name in ("red", "red@1", "red@stable"):
            shown = world.models.show(LOCAL, name)
            assert shown.versions == (3, 2, 1)
            assert [(each.alias, each.version) for each in shown.aliases] == [("best", 2), ("stable", 2)]
        listed = {each.reference: each.aliases for each in adapters(world)}
        assert listed == {"red@3": (), "red@2": ("best", "stable"), "red@1": ()}

    def test_a_version_tells_the_revision_of_its_base_that_its_job_was_posted_with(self, world: World) -> None:
        world.deliver()
        pinned = world.catalogue.bases["shapes"].model_copy(update={"revision": "sha256:new"})
        world.jobs = Jobs(world.database, world.bell, Catalogue(bases={"shapes": pinned}), world.store)
        world.deliver(reward={"type": "jpeg-compressibility"})
        assert [(each.reference, each.base_revision) for each in adapters(world)] == [
            ("red@2", "sha256:new"), ("red@1", ""),
        ]  # fmt: skip
        assert world.models.resolve(LOCAL, "red").base_revision == "sha256:new"  # type: ignore[union-attr]

    def test_a_list_that_is_cut_still_has_what_an_alias_points_to(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.operations.models.MAX_LISTED", 1)
        assert MAX_LISTED > 1
        for _ in range(3):
            world.deliver()
        put(world, 1)
        assert [each.reference for each in adapters(world)] == ["red@3", "red@1"]


def adapters(world: World) -> list[AdapterVersion]:
    return [each for each in world.models.list(LOCAL) if isinstance(each, AdapterVersion)]


def test_readers_see_the_version_before_or_after_a_move_and_never_neither(world: World) -> None:
    for _ in range(2):
        world.deliver()
    put(world, 1)
    over, seen, wrong = threading.Event(), set[str](), list[Exception]()

    def read() -> None:
        while not over.is_set():
            try:
                seen.add(meaning(world))
            except Exception as error:
                wrong.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    for move in range(MOVES):
        put(world, 2 - move % 2)
    over.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert seen <= {"red@1", "red@2"}
    assert seen


def test_the_database_itself_keeps_an_alias_from_pointing_to_nothing(world: World) -> None:
    world.deliver()
    put(world, 1)
    with pytest.raises(IntegrityError):
        world.sql("UPDATE adapter_aliases SET version = 9")
    with pytest.raises(IntegrityError):
        world.sql("DELETE FROM adapter_versions")
