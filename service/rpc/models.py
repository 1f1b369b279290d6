"""What callers may name: base models and adapters, methods, rewards."""

from strop.v1 import models_pb2, models_pb2_grpc, rewards_pb2, rewards_pb2_grpc

from service.domain.methods import METHODS
from service.domain.rewards import REWARDS
from service.operations import models
from service.rpc import messages
from service.rpc.guard import Caller
from service.wire import queries, shapes


class Models(models_pb2_grpc.ModelsServicer):
    def __init__(self, operations: models.Models) -> None:
        self._models = operations

    def List(self, request: models_pb2.ModelsListRequest, caller: Caller) -> models_pb2.ModelsListResponse:
        return messages.fill_list(
            models_pb2.ModelsListResponse(), map(shapes.Model.of, self._models.list(caller.principal))
        )

    def Get(self, request: models_pb2.ModelsGetRequest, caller: Caller) -> models_pb2.ModelsGetResponse:
        name = queries.read(queries.ModelQuery, {"name": request.name}).name
        found = shapes.Model.of(self._models.resolve(caller.principal, name))
        return models_pb2.ModelsGetResponse(model=messages.fill(models_pb2.Model(), found))

    def ListMethods(self, request: models_pb2.ListMethodsRequest, caller: Caller) -> models_pb2.ListMethodsResponse:
        known = (shapes.choice("method", each) for each in METHODS)
        return messages.fill_list(models_pb2.ListMethodsResponse(), known)


class Rewards(rewards_pb2_grpc.RewardsServicer):
    def List(self, request: rewards_pb2.RewardsListRequest, caller: Caller) -> rewards_pb2.RewardsListResponse:
        known = (shapes.choice("reward", each) for each in REWARDS)
        return messages.fill_list(rewards_pb2.RewardsListResponse(), known)
