"""The rules of aliases: what may be one, where one may point, what it needs before it moves or goes. In the caller's unit."""

import re

from service.domain.adapters import ALIAS, AdapterVersion, Alias, AliasRequest, parse_reference
from service.domain.errors import Conflict, FieldError, InvalidRequest, NotFound
from service.domain.ids import TenantId
from service.domain.ports import ReadUnit, WriteUnit
from service.domain.receipts import Stage, Verdict
from service.operations.receipts import so_far

_ALIAS = re.compile(ALIAS)


def move(unit: WriteUnit, tenant: TenantId, name: str, alias: str, asked: AliasRequest) -> tuple[Alias, bool]:
    """Let the alias point there; (what it is now, was it new). The name is held: moves, new versions and deletions come one after another.

    Raises NotFound for the name, InvalidRequest for the version, and Conflict where a receipt is needed and missing.
    """
    if not unit.adapters.hold(tenant, name):
        raise no_adapter(name)
    before = find(unit, tenant, name, alias)
    version = unit.adapters.find(tenant, name, asked.version)
    if version is None:
        raise _no_version(name, asked.version, unit.adapters.versions(tenant, name))
    needs = asked.needs_receipt
    if needs is None:
        needs = before is not None and before.needs_receipt
    if needs:
        require_receipt(unit, version, alias)
    unit.adapters.point(tenant, name, alias, version.version, needs_receipt=needs)
    after = find(unit, tenant, name, alias)
    assert after is not None
    return after, before is None


def find(unit: ReadUnit, tenant: TenantId, name: str, alias: str) -> Alias | None:
    return next((each for each in unit.adapters.aliases(tenant, name) if each.alias == alias), None)


def take_away(unit: WriteUnit, tenant: TenantId, name: str, alias: str) -> None:
    """The alias is no more; its version stays. The name is held.

    Raises NotFound, and Conflict for one that needs a receipt: made anew it would need none, so it is freed first, in words.
    """
    found = find(unit, tenant, name, alias) if unit.adapters.hold(tenant, name) else None
    if found is None:
        raise no_alias(name, alias)
    if found.needs_receipt:
        raise Conflict(
            f"{found.reference} moves only to a version with a passed receipt, and would not know of it once it was taken away "
            f"and made anew: put it on {name}@{found.version} with needs_receipt false first",
            code="alias_needs_receipt",
        )
    unit.adapters.unpoint(tenant, name, alias)


def require_receipt(unit: ReadUnit, version: AdapterVersion, alias: str) -> None:
    """The gate of an alias that needs a receipt. Raises Conflict unless the version has one that is signed and passed."""
    row = unit.receipts.find(version.tenant, version.name, version.version)
    if row is None or row.stage is not Stage.SIGNED:
        raise Conflict(
            f"{version.name}@{alias} moves only to a version with a passed receipt, and {version.reference} has none: "
            f"{so_far(row) if row else 'there is none to come'}; wait for it, or set needs_receipt to false",
            code="receipt_missing",
        )
    if row.verdict is not Verdict.PASSED:
        raise Conflict(
            f"{version.name}@{alias} moves only to a version with a passed receipt, and that of {version.reference} failed: "
            "read it for the reasons, and choose another version, or set needs_receipt to false",
            code="receipt_failed",
        )


def known_name(name: str) -> str:
    """The bare name of an adapter, as callers send it. What cannot be one never reaches the database. Raises NotFound."""
    named = parse_reference(name)
    if named is None or named[1] is not None:
        raise no_adapter(name)
    return name


def known_alias(alias: str) -> str:
    """Raises InvalidRequest for what cannot be an alias."""
    if not _ALIAS.fullmatch(alias):
        remedy = "use 1 to 32 lower-case letters, digits and -, a letter first"
        wrong = FieldError("alias", f"{alias[:64]!r} is no alias", remedy)
        raise InvalidRequest(wrong.message, errors=(wrong,), code="invalid_alias")
    return alias


def no_adapter(name: str) -> NotFound:
    return NotFound(f"there is no adapter {name[:128]!r}")


def no_alias(name: str, alias: str) -> NotFound:
    return NotFound(f"the adapter {name[:128]!r} has no alias {alias[:64]!r}")


def _no_version(name: str, version: int, versions: list[int]) -> InvalidRequest | NotFound:
    if not versions:  # all are deleted, and only the count of them is left
        return no_adapter(name)
    wrong = FieldError(
        "version", f"there is no {name}@{version}", f"name one of its versions: {', '.join(map(str, versions[:20]))}"
    )
    return InvalidRequest(wrong.message, errors=(wrong,), code="unknown_version")
