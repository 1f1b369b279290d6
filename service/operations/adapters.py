"""What an owner does to adapters that are there: aliases set, moved and taken away; versions deleted."""

from dataclasses import dataclass

from service.domain.adapters import Alias, AliasRequest
from service.domain.artifacts import Artifact
from service.domain.outside import Store
from service.domain.ports import Database, WriteUnit
from service.domain.principals import Principal
from service.operations import aliases, deleting, stowing
from service.operations.once import Keyed, once


@dataclass(frozen=True, slots=True)
class Moved:
    """An alias as it is now. `created`: this request made it. `replayed`: an earlier one with the same key did the work."""

    alias: Alias
    created: bool
    replayed: bool


class Adapters:
    def __init__(self, database: Database, store: Store) -> None:
        self._database, self._store = database, store

    def put_alias(
        self, principal: Principal, name: str, alias: str, asked: AliasRequest, keyed: Keyed | None = None
    ) -> Moved:
        """Let `name@alias` mean that version from now on: one transaction, and readers see the one before or this one.

        Raises InvalidRequest for what is no alias and for a version that is not there, NotFound for the name, and Conflict
        where the alias needs a receipt that the version has not.
        """
        aliases.known_name(name)
        aliases.known_alias(alias)
        done: list[Moved] = []

        def write(unit: WriteUnit) -> None:
            done[:] = [Moved(*aliases.move(unit, principal.tenant, name, alias, asked), replayed=False)]

        _, replayed = once(self._database, principal, keyed, alias, write)
        return Moved(self.alias(principal, name, alias), created=False, replayed=True) if replayed else done[0]

    def alias(self, principal: Principal, name: str, alias: str) -> Alias:
        """Raises NotFound."""
        with self._database.read() as unit:
            found = aliases.find(unit, principal.tenant, aliases.known_name(name), alias)
        if found is None:
            raise aliases.no_alias(name, alias)
        return found

    def delete_alias(self, principal: Principal, name: str, alias: str, keyed: Keyed | None = None) -> bool:
        """Take the alias away; its version stays. Returns whether an earlier request did it.

        Raises NotFound, and Conflict for one that needs a receipt.
        """
        aliases.known_name(name)
        aliases.known_alias(alias)

        def write(unit: WriteUnit) -> None:
            aliases.take_away(unit, principal.tenant, name, alias)

        return once(self._database, principal, keyed, alias, write)[1]

    def delete(self, principal: Principal, name: str, *, force: bool = False, keyed: Keyed | None = None) -> bool:
        """Delete `name@3`, or all versions of `name`. Returns whether an earlier request did it.

        One transaction, then the files. Raises NotFound; InvalidRequest for an alias; Conflict while an alias points to it,
        unless `force` takes that away too (not one that needs a receipt), and while a job that begins with it has not ended.
        """
        bare, version = deleting.parse(name)
        gone: list[Artifact] = []

        def write(unit: WriteUnit) -> None:
            gone[:] = deleting.remove(unit, principal.tenant, bare, version, force=force)

        _, replayed = once(self._database, principal, keyed, bare, write)
        stowing.discard(self._store, gone)
        return replayed
