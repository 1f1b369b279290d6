"""The rules of deleting an adapter, in the caller's unit: what stands in its way, and which rows go.

The job that made it stays, with its samples, its log and, for their time, its checkpoints. The name keeps its count, so a
deleted version's number is never another's. Files go after the rows; what a crash leaves is an orphan (retention.py).
Inference processes ask every other second which of the adapters that they hold still have a version, and forget the others.
"""

from collections.abc import Sequence

from service.domain.adapters import AdapterVersion, parse_reference
from service.domain.artifacts import Artifact
from service.domain.errors import Conflict, FieldError, InvalidRequest, NotFound
from service.domain.ids import NOBODY, TenantId
from service.domain.ports import Deed, WriteUnit
from service.domain.recipes import Recipe
from service.operations.aliases import no_adapter, take_away


def parse(name: str) -> tuple[str, int | None]:
    """What is to be deleted: one version, or None: all. Raises NotFound, and InvalidRequest for an alias."""
    reference = parse_reference(name)
    if reference is None:
        raise no_adapter(name)
    bare, which = reference
    if isinstance(which, str):
        remedy = (
            f"name the version by its number; the alias alone is taken away by DELETE /models/{bare}/aliases/{which}"
        )
        wrong = FieldError("name", f"{name} is an alias", remedy)
        raise InvalidRequest(f"name: {wrong.message}", errors=(wrong,), code="names_an_alias")
    return bare, which


def remove(unit: WriteUnit, tenant: TenantId, name: str, version: int | None, *, force: bool) -> list[Artifact]:
    """Delete the rows of one version or of all; returns the files that are no more. Raises NotFound, Conflict."""
    if not unit.adapters.hold(tenant, name):
        raise no_adapter(name)
    gone = unit.adapters.seize(tenant, name, version)
    if not gone:
        raise no_adapter(name) if version is None else NotFound(f"there is no adapter '{name}@{version}'")
    _check_aliases(unit, gone, force=force)
    _check_jobs(unit, tenant, gone)
    for each in gone:
        data = {"adapter": each.reference, "by": tenant}
        unit.events.append(each.job, NOBODY, Deed("job.adapter_deleted", data))
    return unit.adapters.remove(tenant, name, [each.version for each in gone])


def keep_start(unit: WriteUnit, tenant: TenantId, recipe: Recipe) -> None:
    """The adapter that a new job begins with is there when the job is, however fast somebody deletes it. Raises Conflict."""
    if recipe.start_adapter is None:
        return
    name, version = parse_reference(recipe.start_adapter) or ("", None)
    if not isinstance(version, int) or not unit.adapters.hold_version(tenant, name, version):
        raise Conflict(f"the adapter {recipe.start_adapter} that it begins with was deleted", code="adapter_deleted")


def _check_aliases(unit: WriteUnit, gone: Sequence[AdapterVersion], *, force: bool) -> None:
    for each in gone:
        if each.aliases and not force:
            named = ", ".join(f"{each.name}@{alias}" for alias in each.aliases)
            raise Conflict(
                f"{each.reference} is what {named} means: move the alias first, or delete with force, which takes it away too",
                code="adapter_has_alias",
            )
        for alias in each.aliases:
            take_away(unit, each.tenant, each.name, alias)


def _check_jobs(unit: WriteUnit, tenant: TenantId, gone: Sequence[AdapterVersion]) -> None:
    begun = unit.adapters.beginning(tenant, [each.reference for each in gone])
    if begun is not None:
        job, reference = begun
        raise Conflict(
            f"{job} begins with {reference} and has not ended: wait for its end, or cancel it", code="adapter_in_use"
        )
