"""`model` and `adapters` → what to draw with. What was resolved once is remembered: while the database is away it is
served on. With the database there, every request asks it anew, so an alias that moved, or an adapter that was deleted, is so
for the very next request.
"""

import builtins
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from service.domain.adapters import AdapterVersion
from service.domain.catalogue import BaseModelEntry, Catalogue
from service.domain.errors import FieldError, InvalidRequest, NotFound, Unavailable
from service.domain.ids import TenantId
from service.domain.principals import Principal
from service.operations.models import Models

REMEMBERED = 10_000
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Weighted:
    """An adapter as a request names it, and how much of it."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """The same, resolved."""

    version: AdapterVersion
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Resolved:
    """A base model and what is worn on it, in the request's order: of `model`, if that is an adapter, then of `adapters`.

    `reference`: what `model` means: a base model, or adapter@version.
    """

    base: BaseModelEntry
    adapters: tuple[Chosen, ...]
    reference: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A name that `model` may be. A base model has no date here; its owner is the catalogue."""

    id: str
    created_at: datetime | None
    owner: str


class Names:
    """Base models come from the catalogue and need no database; adapters come from their rows."""

    def __init__(self, models: Models, catalogue: Catalogue) -> None:
        self._models = models
        self._catalogue = catalogue
        self._known: dict[tuple[TenantId, str], AdapterVersion] = {}
        """Oldest first."""
        self._lock = threading.Lock()

    def resolve(self, principal: Principal, model: str, adapters: Sequence[Weighted] = ()) -> Resolved:
        """All of one base model. Raises InvalidRequest, with the place of each name that will not do; Unavailable for one
        that was not seen before while the database is away.
        """
        found = self._find(principal, model, "model")
        reference = found.name if isinstance(found, BaseModelEntry) else found.reference
        chosen = [] if isinstance(found, BaseModelEntry) else [Chosen(found)]
        for place, each in enumerate(adapters):
            chosen.append(Chosen(self._adapter(principal, each.name, f"adapters.{place}.name"), each.weight))
        base = found if isinstance(found, BaseModelEntry) else self._base(found, "model")
        _check_one_base(base, reference, chosen, offset=len(chosen) - len(adapters))
        return Resolved(base, tuple(chosen), reference)

    def list(self, principal: Principal) -> builtins.list[Listed]:
        """Everything that resolves: bases, versions, aliases; while the database is away, what is known without it."""
        try:
            models = self._models.list(principal)
        except Unavailable:
            with self._lock:
                known = {
                    each.reference: each for (tenant, _), each in self._known.items() if tenant == principal.tenant
                }
            models = [*self._catalogue.bases.values(), *known.values()]
        return [name for each in models for name in _listed(each)]

    def forget(self, sha256: str) -> None:
        """Of a deleted adapter nothing is served on."""
        with self._lock:
            for key in [key for key, version in self._known.items() if version.file.sha256 == sha256]:
                del self._known[key]

    def _find(self, principal: Principal, name: str, place: str) -> BaseModelEntry | AdapterVersion:
        if name in self._catalogue.bases:
            return self._catalogue.bases[name]
        key = (principal.tenant, name)
        try:
            found = self._models.resolve(principal, name)
        except Unavailable:
            with self._lock:
                if key in self._known:
                    logger.warning("the database is away; serving %s as it was last resolved", name)
                    return self._known[key]
            raise
        except NotFound:
            with self._lock:
                self._known.pop(key, None)
            raise _refusal(
                place, f"there is no model {name!r}", "use a name that GET /v1/models lists", "unknown_model"
            ) from None
        if isinstance(found, AdapterVersion):
            with self._lock:
                self._known.pop(key, None)
                if len(self._known) >= REMEMBERED:
                    self._known.pop(next(iter(self._known)))
                self._known[key] = found
        return found

    def _adapter(self, principal: Principal, name: str, place: str) -> AdapterVersion:
        found = self._find(principal, name, place)
        if isinstance(found, BaseModelEntry):
            remedy = "name a base model in `model`, and adapters of it here"
            raise _refusal(place, f"{name} is a base model", remedy, "not_an_adapter")
        return found

    def _base(self, version: AdapterVersion, place: str) -> BaseModelEntry:
        base = self._catalogue.bases.get(version.base_model)
        if base is None:
            message = f"{version.reference} was trained on {version.base_model}, which is not in the catalogue"
            remedy = "ask the operator to put the base model back, or use another adapter"
            raise _refusal(place, message, remedy, "unknown_base_model")
        return base


def _check_one_base(base: BaseModelEntry, reference: str, chosen: Sequence[Chosen], *, offset: int) -> None:
    """The first `offset` of the chosen are of `model` itself. A revision that was not pinned cannot be compared."""
    seen: set[str] = set()
    for place, each in enumerate(chosen):
        version, path = each.version, f"adapters.{place - offset}.name" if place >= offset else "model"
        if version.base_model != base.name:
            message = f"{version.reference} was trained on {version.base_model}, and {reference} is of {base.name}"
            remedy = f"name adapters of {base.name} only, or another model"
            raise _refusal(path, message, remedy, "another_base_model")
        if base.revision and version.base_revision and version.base_revision != base.revision:
            message = (
                f"{version.reference} was trained on {base.name} at revision {version.base_revision}, "
                f"and the catalogue has {base.revision}"
            )
            remedy = "ask the operator to put that revision back, or train the adapter anew on this one"
            raise _refusal(path, message, remedy, "catalogue_changed")
        if version.reference in seen:
            remedy = "name it once, with the weight that you want in all"
            raise _refusal(path, f"{version.reference} is named twice", remedy, "adapter_twice")
        seen.add(version.reference)


def _listed(model: BaseModelEntry | AdapterVersion) -> list[Listed]:
    if isinstance(model, BaseModelEntry):
        return [Listed(model.name, None, "catalogue")]
    names = [model.reference, *(f"{model.name}@{alias}" for alias in model.aliases)]
    return [Listed(name, model.created_at, model.tenant) for name in names]


def _refusal(path: str, message: str, remedy: str, code: str) -> InvalidRequest:
    return InvalidRequest(errors=(FieldError(path, message, remedy),), code=code)
