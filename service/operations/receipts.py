"""Receipts as callers see them, and what one is to be measured on: the job's own reward, prompts and cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.adapters import AdapterVersion, parse_reference
from service.domain.artifacts import Artifact
from service.domain.errors import FieldError, InvalidRequest, NotFound
from service.domain.jobs import Progress
from service.domain.outside import Store
from service.domain.ports import Database, ReadUnit
from service.domain.principals import LOCAL_TENANT, Principal
from service.domain.prompts import fault, normalise
from service.domain.receipts import DEFAULT_PICTURES, DEFAULT_PROMPTS, PublicKey, ReceiptRow, Source, Stage
from service.domain.recipes import Recipe
from service.domain.scenes import GRAMMAR, is_scene
from service.operations.shelf import TenantShelf


@dataclass(frozen=True, slots=True)
class Subject:
    """What a receipt is measured on. Picture i is of prompt i modulo their number, from seeds[i]."""

    version: AdapterVersion
    recipe: Recipe
    spent: Progress
    prompts: tuple[str, ...]
    prompts_from: Source
    seeds: tuple[int, ...]


class MissingReceipt(NotFound):
    """There is no signed receipt of this adapter."""

    code = "receipt_missing"


class Receipts:
    def __init__(self, database: Database, store: Store) -> None:
        self._database, self._store = database, store

    def of(self, principal: Principal, reference: str) -> ReceiptRow:
        """How far the receipt of an adapter's version is. Raises NotFound."""
        with self._database.read() as unit:
            return _row(unit, _version(unit, principal, reference))

    def signed(self, principal: Principal, reference: str) -> Artifact:
        """The signed receipt's file. Raises MissingReceipt, which says how far it is."""
        with self._database.read() as unit:
            row = _row(unit, _version(unit, principal, reference))
            if row.file_fence is None or row.file_name is None:
                raise MissingReceipt(f"{row.reference} has no signed receipt: {so_far(row)}")
            file = unit.artifacts.find(principal.tenant, row.job, row.file_fence, row.file_name)
        if file is None:
            raise MissingReceipt(f"the file of the receipt of {row.reference} is gone")
        return file

    def public_keys(self) -> list[PublicKey]:
        """Every key that ever signed here, the newest first."""
        with self._database.read() as unit:
            return unit.receipts.keys(LOCAL_TENANT)

    def subject(
        self, principal: Principal, reference: str, prompts: Sequence[str] | None, seeds: Sequence[int] | None
    ) -> Subject:
        """By default the first prompts of the job's validation, else of its training, four pictures of each.

        Raises NotFound; InvalidRequest for prompts that cannot be drawn or judged, and seeds that do not go round.
        """
        with self._database.read() as unit:
            version = _version(unit, principal, reference)
            job = unit.jobs.whole(principal.tenant, version.job)
        assert job is not None, "a version's job is there as long as the version"
        source: Source = "request"
        if prompts:
            chosen = _checked(prompts, job.recipe)
        else:
            source, chosen = self._own(principal, job.recipe)
        if seeds is None:
            seeds = range(len(chosen) * DEFAULT_PICTURES)
        elif len(seeds) % len(chosen):
            _refuse(
                "seeds",
                f"{len(seeds)} seeds for {len(chosen)} prompts",
                "send as many seeds for each prompt as for the others",
            )
        return Subject(version, job.recipe, job.progress, chosen, source, tuple(seeds))

    def _own(self, principal: Principal, recipe: Recipe) -> tuple[Source, tuple[str, ...]]:
        if recipe.validation is not None and recipe.validation.prompts:
            return "validation", _first(recipe.validation.prompts)
        if recipe.prompts is not None:
            return "training", _first(recipe.prompts)
        shelf = TenantShelf(self._database, self._store, principal)
        if recipe.prompts_file is not None:
            return "training", _first(shelf.prompts(recipe.prompts_file))
        assert recipe.images_file is not None, "a recipe has prompts from somewhere"
        return "training", _first(shelf.pictures(recipe.images_file).prompts)


def so_far(row: ReceiptRow) -> str:
    """In words: how far a receipt is that is not signed."""
    last = f" (the last try: {row.error})" if row.error else ""
    if row.stage is Stage.GIVEN_UP:
        return f"it was given up after {row.spent} tries{last}"
    return f"it is being measured{last}" if row.tries else "it has not been asked for yet"


def _version(unit: ReadUnit, principal: Principal, reference: str) -> AdapterVersion:
    named = parse_reference(reference)
    found = unit.adapters.find(principal.tenant, *named) if named else None
    if found is None:
        raise NotFound(f"there is no adapter {reference[:128]!r}")
    return found


def _row(unit: ReadUnit, version: AdapterVersion) -> ReceiptRow:
    row = unit.receipts.find(version.tenant, version.name, version.version)
    if row is None:
        raise MissingReceipt(f"{version.reference} has no receipt")
    return row


def _first(prompts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(prompts))[:DEFAULT_PROMPTS]


def _checked(prompts: Sequence[str], recipe: Recipe) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(map(normalise, prompts)))
    for prompt in chosen:
        if wrong := fault(prompt):
            _refuse("prompts", wrong, "leave it out")
        if recipe.reward.type == "scene" and not is_scene(prompt):
            _refuse("prompts", f"the job's reward cannot judge {prompt[:80]!r}", f"write {GRAMMAR}")
    return chosen


def _refuse(path: str, message: str, remedy: str) -> None:
    raise InvalidRequest(message, errors=(FieldError(path, message, remedy),))
