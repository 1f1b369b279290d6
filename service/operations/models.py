"""What callers may name: the operator's base models, and the tenant's adapters by version."""

from service.domain.adapters import AdapterVersion, parse_reference
from service.domain.catalogue import BaseModelEntry, Catalogue
from service.domain.errors import NotFound
from service.domain.ports import Database
from service.domain.principals import Principal

MAX_LISTED = 1_000
"""The newest adapter versions listed; older ones are still served by name."""


class Models:
    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database, self._catalogue = database, catalogue

    def resolve(self, principal: Principal, name: str) -> BaseModelEntry | AdapterVersion:
        """A base model; an adapter as `name@3`, or as `name`, which means its newest version. Raises NotFound."""
        if name in self._catalogue.bases:
            return self._catalogue.bases[name]
        reference = parse_reference(name)
        if reference is not None:
            with self._database.read() as unit:
                found = unit.adapters.find(principal.tenant, *reference)
            if found is not None:
                return found
        raise NotFound(f"there is no model {name[:128]!r}")

    def list(self, principal: Principal) -> list[BaseModelEntry | AdapterVersion]:
        """Base models by name, then adapters, the newest first."""
        with self._database.read() as unit:
            adapters = unit.adapters.all(principal.tenant, MAX_LISTED)
        return [*(self._catalogue.bases[name] for name in sorted(self._catalogue.bases)), *adapters]
