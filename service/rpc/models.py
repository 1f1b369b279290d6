"""What callers may name: base models and adapters, methods, rewards."""

from strop.v1 import models_pb2, models_pb2_grpc, rewards_pb2, rewards_pb2_grpc

from service.domain.adapters import AliasRequest
from service.domain.methods import METHODS
from service.domain.rewards import REWARDS
from service.operations import adapters, models, once
from service.rpc import messages
from service.rpc.guard import Caller
from service.wire import bodies, queries, shapes


class Models(models_pb2_grpc.ModelsServicer):
    def __init__(self, operations: models.Models, adapters: adapters.Adapters) -> None:
        self._models, self._adapters = operations, adapters

    def List(self, request: models_pb2.ModelsListRequest, caller: Caller) -> models_pb2.ModelsListResponse:
        return messages.fill_list(
            models_pb2.ModelsListResponse(), map(shapes.Model.of, self._models.list(caller.principal))
        )

    def Get(self, request: models_pb2.ModelsGetRequest, caller: Caller) -> models_pb2.ModelsGetResponse:
        name = queries.read(queries.ModelQuery, {"name": request.name}).name
        found = shapes.Model.shown(self._models.show(caller.principal, name))
        return models_pb2.ModelsGetResponse(model=messages.fill(models_pb2.Model(), found))

    def SetAlias(self, request: models_pb2.ModelsSetAliasRequest, caller: Caller) -> models_pb2.ModelsSetAliasResponse:
        given = messages.json_of(request)
        name, alias = given.pop("name", ""), given.pop("alias", "")
        raw = messages.canonical(given)
        asked = bodies.parse(AliasRequest, raw)
        keyed = _keyed(caller, "PUT", f"/models/{name}/aliases/{alias}", raw)
        moved = self._adapters.put_alias(caller.principal, name, alias, asked, keyed)
        found = messages.fill(models_pb2.Alias(), shapes.Alias.of(moved.alias))
        return models_pb2.ModelsSetAliasResponse(alias=found, created=moved.created, replayed=moved.replayed)

    def DeleteAlias(
        self, request: models_pb2.ModelsDeleteAliasRequest, caller: Caller
    ) -> models_pb2.ModelsDeleteAliasResponse:
        keyed = _keyed(caller, "DELETE", f"/models/{request.name}/aliases/{request.alias}")
        replayed = self._adapters.delete_alias(caller.principal, request.name, request.alias, keyed)
        return models_pb2.ModelsDeleteAliasResponse(replayed=replayed)

    def Delete(self, request: models_pb2.ModelsDeleteRequest, caller: Caller) -> models_pb2.ModelsDeleteResponse:
        keyed = _keyed(caller, "DELETE", f"/models/{request.name}{'?force=true' if request.force else ''}")
        replayed = self._adapters.delete(caller.principal, request.name, force=request.force, keyed=keyed)
        return models_pb2.ModelsDeleteResponse(replayed=replayed)

    def ListMethods(self, request: models_pb2.ListMethodsRequest, caller: Caller) -> models_pb2.ListMethodsResponse:
        known = (shapes.choice("method", each) for each in METHODS)
        return messages.fill_list(models_pb2.ListMethodsResponse(), known)


class Rewards(rewards_pb2_grpc.RewardsServicer):
    def List(self, request: rewards_pb2.RewardsListRequest, caller: Caller) -> rewards_pb2.RewardsListResponse:
        known = (shapes.choice("reward", each) for each in REWARDS)
        return messages.fill_list(rewards_pb2.RewardsListResponse(), known)


def _keyed(caller: Caller, method: str, path: str, body: bytes = b"") -> once.Keyed | None:
    """By the REST face's method and path; the same key cannot mean one thing there and another here."""
    return once.keyed(caller.idempotency_key, path, body, method=method)
