"""What names mean: bases, versions, aliases, adapters side by side; and what they go on meaning without the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from service.domain.adapters import AdapterVersion, parse_reference
from service.domain.artifacts import Artifact, Kind
from service.domain.catalogue import BaseModelEntry, Catalogue
from service.domain.errors import InvalidRequest, Unavailable
from service.domain.ids import Fence, JobId, TenantId
from service.domain.principals import LOCAL, Principal
from service.operations.models import Models
from worker.inference.adapters.names import Names, Resolved, Weighted

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OTHER = Principal(TenantId("other"))
CATALOGUE = Catalogue(
    bases={
        name: BaseModelEntry(name=name, source=f"/{name}", family="sd", resolution=64) for name in ("tiny", "large")
    },
    rewards={},
)


def version(name: str, number: int, base: str = "tiny", tenant: TenantId = LOCAL.tenant) -> AdapterVersion:
    job = JobId(f"job_{name}_{number}")
    file = Artifact(
        job, Fence(1), 1, Kind.ADAPTER, "adapter.safetensors", f"{job}/a", 9, f"sha of {name}@{number}", NOW
    )
    return AdapterVersion(tenant, name, number, base, job, file, f"{job}/m", "m", NOW)


@dataclass
class Rows:
    """A database with nothing but adapters, that can be away."""

    versions: list[AdapterVersion]
    aliases: dict[str, int]
    away: bool = False

    @contextmanager
    def read(self) -> Iterator[Any]:
        if self.away:
            raise Unavailable
        yield self

    @property
    def adapters(self) -> "Rows":
        return self

    def find(self, tenant: TenantId, name: str, which: int | str | None) -> AdapterVersion | None:
        number = self.aliases.get(f"{name}@{which}", 0) if isinstance(which, str) else which
        found = [each for each in self.versions if (each.tenant, each.name) == (tenant, name)]
        found = [each for each in found if number is None or each.version == number]
        return max(found, key=lambda each: each.version, default=None)

    def all(self, tenant: TenantId, limit: int) -> list[AdapterVersion]:
        return [self._aliased(each) for each in reversed(self.versions) if each.tenant == tenant]

    def _aliased(self, each: AdapterVersion) -> AdapterVersion:
        named = [
            alias
            for alias, number in self.aliases.items()
            if alias.startswith(f"{each.name}@") and number == each.version
        ]
        return replace(each, aliases=tuple(alias.partition("@")[2] for alias in named))


@pytest.fixture
def rows() -> Rows:
    made = [version("red", 1), version("red", 2), version("blue", 1), version("wide", 1, "large")]
    return Rows([*made, version("lost", 1, "gone"), version("theirs", 1, tenant=OTHER.tenant)], {"red@stable": 1})


@pytest.fixture
def names(rows: Rows) -> Names:
    return Names(Models(rows, CATALOGUE), CATALOGUE)  # type: ignore[arg-type]


def worn(resolved: Resolved) -> list[tuple[str, float]]:
    return [(each.version.reference, each.weight) for each in resolved.adapters]


def refusal(names: Names, *asked: Any) -> tuple[str, str, str, str]:
    with pytest.raises(InvalidRequest) as refused:
        names.resolve(LOCAL, *asked)
    (wrong,) = refused.value.errors
    assert wrong.remedy
    return refused.value.code, wrong.path, wrong.message, wrong.remedy


class TestAModel:
    @pytest.mark.parametrize(
        ("name", "base", "adapters"),
        [
            ("tiny", "tiny", []),
            ("red", "tiny", [("red@2", 1.0)]),
            ("red@1", "tiny", [("red@1", 1.0)]),
            ("red@stable", "tiny", [("red@1", 1.0)]),
            ("wide", "large", [("wide@1", 1.0)]),
        ],
    )
    def test_is_a_base_or_an_adapter_on_its_base(self, names: Names, name: str, base: str, adapters: Any) -> None:
        resolved = names.resolve(LOCAL, name)
        assert (resolved.base.name, worn(resolved)) == (base, adapters)
        assert resolved.reference == (adapters[0][0] if adapters else base)

    @pytest.mark.parametrize("name", ["nobody", "red@3", "red@best", "tiny@1", "theirs", "../tiny", "https://x/y"])
    def test_that_is_not_there_is_refused(self, names: Names, name: str) -> None:
        assert refusal(names, name)[:2] == ("unknown_model", "model")

    def test_whose_base_left_the_catalogue_is_refused_by_name(self, names: Names) -> None:
        code, path, message, _ = refusal(names, "lost")
        assert (code, path) == ("unknown_base_model", "model")
        assert message == "lost@1 was trained on gone, which is not in the catalogue"

    def test_whose_base_has_moved_to_another_revision_is_refused_with_both_and_what_to_do(self, rows: Rows) -> None:
        rows.versions[2] = replace(rows.versions[2], base_revision="sha256:old")
        moved = Catalogue(bases={"tiny": CATALOGUE.bases["tiny"].model_copy(update={"revision": "sha256:new"})})
        names = Names(Models(rows, moved), moved)  # type: ignore[arg-type]
        for place, asked in {"model": ("blue",), "adapters.0.name": ("red", [Weighted("blue")])}.items():
            code, path, message, remedy = refusal(names, *asked)
            assert (code, path) == ("catalogue_changed", place)
            assert message == "blue@1 was trained on tiny at revision sha256:old, and the catalogue has sha256:new"
            assert remedy.startswith("ask the operator to put that revision back")

    @pytest.mark.parametrize(("then", "now"), [("", ""), ("", "sha256:a"), ("sha256:a", "sha256:a"), ("sha256:a", "")])
    def test_whose_base_is_the_same_as_far_as_it_was_pinned_is_served(self, rows: Rows, then: str, now: str) -> None:
        rows.versions[2] = replace(rows.versions[2], base_revision=then)
        pinned = Catalogue(bases={"tiny": CATALOGUE.bases["tiny"].model_copy(update={"revision": now})})
        assert Names(Models(rows, pinned), pinned).resolve(LOCAL, "blue").reference == "blue@1"  # type: ignore[arg-type]

    def test_is_what_its_alias_means_now(self, names: Names, rows: Rows) -> None:
        names.resolve(LOCAL, "red@stable")
        rows.aliases["red@stable"] = 2
        assert names.resolve(LOCAL, "red@stable").reference == "red@2"


class TestAdaptersSideBySide:
    def test_are_worn_on_a_base_in_their_order(self, names: Names) -> None:
        resolved = names.resolve(LOCAL, "tiny", [Weighted("blue", 0.5), Weighted("red@stable", -1)])
        assert worn(resolved) == [("blue@1", 0.5), ("red@1", -1)]
        assert (resolved.base.name, resolved.reference) == ("tiny", "tiny")

    def test_are_worn_beside_the_models_own(self, names: Names) -> None:
        resolved = names.resolve(LOCAL, "red@1", [Weighted("blue", 0.5)])
        assert (resolved.reference, worn(resolved)) == ("red@1", [("red@1", 1.0), ("blue@1", 0.5)])

    def test_of_two_bases_are_refused_with_both_names(self, names: Names) -> None:
        for model in ("red@1", "tiny"):
            code, path, message, remedy = refusal(names, model, [Weighted("blue"), Weighted("wide")])
            assert (code, path) == ("another_base_model", "adapters.1.name")
            assert message == f"wide@1 was trained on large, and {model} is of tiny"
            assert remedy.startswith("name adapters of tiny only")

    def test_that_are_one_are_refused(self, names: Names) -> None:
        assert refusal(names, "red@stable", [Weighted("red@1")])[:2] == ("adapter_twice", "adapters.0.name")
        assert refusal(names, "tiny", [Weighted("red"), Weighted("red@2")])[:2] == ("adapter_twice", "adapters.1.name")

    def test_that_are_none_are_refused_at_their_place(self, names: Names) -> None:
        assert refusal(names, "tiny", [Weighted("red"), Weighted("no")])[:2] == ("unknown_model", "adapters.1.name")
        assert refusal(names, "tiny", [Weighted("large")])[:2] == ("not_an_adapter", "adapters.0.name")


class TestWithoutTheDatabase:
    def test_what_was_resolved_is_served_on(self, names: Names, rows: Rows) -> None:
        asked = ("red@stable", [Weighted("blue", 0.5)])
        before = names.resolve(LOCAL, *asked)
        rows.away = True
        assert names.resolve(LOCAL, *asked) == before
        assert names.resolve(LOCAL, "tiny").adapters == ()

    @pytest.mark.parametrize(("asker", "name"), [(LOCAL, "red@2"), (LOCAL, "red"), (OTHER, "red@stable")])
    def test_what_was_not_is_not_guessed(self, names: Names, rows: Rows, asker: Principal, name: str) -> None:
        names.resolve(LOCAL, "red@stable")
        rows.away = True
        with pytest.raises(Unavailable):
            names.resolve(asker, name)

    def test_what_was_deleted_is_not_served_on(self, names: Names, rows: Rows) -> None:
        for name in ("red", "red@2", "blue"):
            names.resolve(LOCAL, name)
        names.forget("sha of red@2")
        deleted = rows.versions.pop(2)
        assert deleted.reference == "blue@1"
        assert refusal(names, "blue")[0] == "unknown_model"
        rows.away = True
        for name in ("red", "red@2", "blue"):
            with pytest.raises(Unavailable):
                names.resolve(LOCAL, name)

    def test_bases_and_what_was_resolved_are_listed(self, names: Names, rows: Rows) -> None:
        names.resolve(LOCAL, "red@stable")
        rows.away = True
        assert [each.id for each in names.list(LOCAL)] == ["tiny", "large", "red@1"]
        assert [each.id for each in names.list(OTHER)] == ["tiny", "large"]


def test_every_name_is_listed_and_resolves(names: Names) -> None:
    listed = names.list(LOCAL)
    assert [each.id for each in listed] == [
        "large",
        "tiny",
        "lost@1",
        "wide@1",
        "blue@1",
        "red@2",
        "red@1",
        "red@stable",
    ]
    assert [each.owner for each in listed] == ["catalogue"] * 2 + ["local"] * 6
    for each in listed:
        if each.id != "lost@1":
            assert names.resolve(LOCAL, each.id).base
        assert each.id in CATALOGUE.bases or parse_reference(each.id)
