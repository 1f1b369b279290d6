"""`model` → what to draw with. What was resolved once is remembered: while the database is away it is served on."""

import logging
import threading
from dataclasses import dataclass

from service.domain.adapters import AdapterVersion
from service.domain.catalogue import BaseModelEntry, Catalogue
from service.domain.errors import FieldError, InvalidRequest, NotFound, Unavailable
from service.domain.ids import TenantId
from service.domain.principals import Principal
from service.operations.models import Models

REMEMBERED = 10_000
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A base model, or an adapter and the base model that it was trained on."""

    base: BaseModelEntry
    adapter: AdapterVersion | None

    @property
    def reference(self) -> str:
        return self.adapter.reference if self.adapter else self.base.name


class Names:
    """Base models come from the catalogue and need no database; adapters come from their rows."""

    def __init__(self, models: Models, catalogue: Catalogue) -> None:
        self._models = models
        self._catalogue = catalogue
        self._known: dict[tuple[TenantId, str], Resolved] = {}
        self._lock = threading.Lock()

    def resolve(self, principal: Principal, name: str) -> Resolved:
        """Raises InvalidRequest for an unknown name, Unavailable for one not seen before while the database is away."""
        if name in self._catalogue.bases:
            return Resolved(self._catalogue.bases[name], None)
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
            raise _unknown(name) from None
        resolved = self._with_base(found)
        with self._lock:
            if len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[key] = resolved
        return resolved

    def list(self, principal: Principal) -> list[BaseModelEntry | AdapterVersion]:
        """Everything that resolves; while the database is away, what is known without it."""
        try:
            return self._models.list(principal)
        except Unavailable:
            with self._lock:
                known = [each.adapter for (tenant, _), each in self._known.items() if tenant == principal.tenant]
            adapters = {each.reference: each for each in known if each}
            return [*self._catalogue.bases.values(), *adapters.values()]

    def _with_base(self, found: BaseModelEntry | AdapterVersion) -> Resolved:
        if isinstance(found, BaseModelEntry):
            return Resolved(found, None)
        base = self._catalogue.bases.get(found.base_model)
        if base is None:
            wrong = FieldError(
                "model",
                f"{found.reference} was trained on {found.base_model}, which is not in the catalogue",
                "ask the operator to put the base model back, or use another adapter",
            )
            raise InvalidRequest(errors=(wrong,), code="unknown_base_model")
        return Resolved(base, found)


def _unknown(name: str) -> InvalidRequest:
    wrong = FieldError("model", f"there is no model {name!r}", "use a name that GET /v1/models lists")
    return InvalidRequest(errors=(wrong,), code="unknown_model")
