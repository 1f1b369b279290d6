"""Who asks. Every operation takes one; every row belongs to a tenant."""

from dataclasses import dataclass

from service.domain.ids import TenantId

LOCAL_TENANT = TenantId("local")


@dataclass(frozen=True, slots=True)
class Principal:
    tenant: TenantId
    scopes: frozenset[str] = frozenset({"jobs", "files", "models", "images"})


LOCAL = Principal(LOCAL_TENANT)
