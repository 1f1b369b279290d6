"""What callers may name: the operator's base models, and the tenant's adapters by version or alias."""

from collections.abc import Collection
from dataclasses import dataclass

from service.domain.adapters import AdapterVersion, Alias, parse_reference
from service.domain.catalogue import BaseModelEntry, Catalogue
from service.domain.errors import NotFound
from service.domain.ids import TenantId
from service.domain.ports import Database, ReadUnit
from service.domain.principals import Principal
from service.domain.receipts import ReceiptRow

AT_ONCE = 500
"""Digests that one query asks for."""
MAX_LISTED = 1_000
"""The newest adapter versions listed, and those that aliases point to; older ones are still served by name."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A model; of an adapter also its receipt, all versions of its name, the newest first, and all aliases."""

    model: BaseModelEntry | AdapterVersion
    versions: tuple[int, ...] = ()
    aliases: tuple[Alias, ...] = ()
    receipt: ReceiptRow | None = None


class Models:
    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database, self._catalogue = database, catalogue

    def resolve(self, principal: Principal, name: str) -> BaseModelEntry | AdapterVersion:
        """A base model; an adapter as `name@3`, `name@alias`, or `name`, which means its newest version. Raises NotFound."""
        if name in self._catalogue.bases:
            return self._catalogue.bases[name]
        with self._database.read() as unit:
            return self._found(unit, principal, name)

    def show(self, principal: Principal, name: str) -> Shown:
        """The same with what else goes by an adapter's name. Raises NotFound."""
        if name in self._catalogue.bases:
            return Shown(self._catalogue.bases[name])
        with self._database.read() as unit:
            found = self._found(unit, principal, name)
            versions = unit.adapters.versions(found.tenant, found.name)
            aliases = unit.adapters.aliases(found.tenant, found.name)
            receipt = unit.receipts.find(found.tenant, found.name, found.version)
        return Shown(found, tuple(versions), tuple(aliases), receipt)

    def list(self, principal: Principal) -> list[BaseModelEntry | AdapterVersion]:
        """Base models by name, then adapters, the newest first."""
        with self._database.read() as unit:
            adapters = unit.adapters.all(principal.tenant, MAX_LISTED)
        return [*(self._catalogue.bases[name] for name in sorted(self._catalogue.bases)), *adapters]

    def living(self, digests: Collection[str]) -> set[tuple[TenantId, str]]:
        """Whose adapters have these digests, of all tenants; for who holds files and must know which were deleted."""
        wanted, found = sorted(digests), set[tuple[TenantId, str]]()
        for at in range(0, len(wanted), AT_ONCE):
            with self._database.read() as unit:
                found |= unit.adapters.living(wanted[at : at + AT_ONCE])
        return found

    def _found(self, unit: ReadUnit, principal: Principal, name: str) -> AdapterVersion:
        reference = parse_reference(name)
        found = unit.adapters.find(principal.tenant, *reference) if reference else None
        if found is None:
            raise NotFound(f"there is no model {name[:128]!r}")
        return found
