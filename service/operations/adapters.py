"""What an owner does to adapters that are there: aliases set and moved, taken away."""

from dataclasses import dataclass

from service.domain.adapters import Alias, AliasRequest
from service.domain.ports import Database, WriteUnit
from service.domain.principals import Principal
from service.operations import aliases
from service.operations.once import Keyed, once


@dataclass(frozen=True, slots=True)
class Moved:
    """An alias as it is now. `created`: this request made it. `replayed`: an earlier one with the same key did the work."""

    alias: Alias
    created: bool
    replayed: bool


class Adapters:
    def __init__(self, database: Database) -> None:
        self._database = database

    def put_alias(
        self, principal: Principal, name: str, alias: str, asked: AliasRequest, keyed: Keyed | None = None
    ) -> Moved:
        """Let `name@alias` mean that version from now on: one transaction, and readers see the one before or this one.

        Raises InvalidRequest for what is no alias and for a version that is not there, NotFound for the name, and Conflict
        where the alias needs a receipt that the version has not.
        """
        aliases.known_name(name)
        aliases.known_alias(alias)
        created = False

        def write(unit: WriteUnit) -> None:
            nonlocal created
            created = aliases.move(unit, principal.tenant, name, alias, asked)

        _, replayed = once(self._database, principal, keyed, alias, write)
        return Moved(self.alias(principal, name, alias), created, replayed)

    def alias(self, principal: Principal, name: str, alias: str) -> Alias:
        """Raises NotFound."""
        with self._database.read() as unit:
            found = unit.adapters.aliases(principal.tenant, aliases.known_name(name))
        for each in found:
            if each.alias == alias:
                return each
        raise aliases.no_alias(name, alias)

    def delete_alias(self, principal: Principal, name: str, alias: str, keyed: Keyed | None = None) -> bool:
        """Take the alias away; its version stays. Returns whether an earlier request did it. Raises NotFound."""
        aliases.known_name(name)
        aliases.known_alias(alias)

        def write(unit: WriteUnit) -> None:
            held = unit.adapters.hold(principal.tenant, name)
            if not held or not unit.adapters.unpoint(principal.tenant, name, alias):
                raise aliases.no_alias(name, alias)

        return once(self._database, principal, keyed, alias, write)[1]
