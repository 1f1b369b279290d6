"""`client.models`, `client.rewards`, `client.methods`: what a job and a picture may name, over gRPC."""

import builtins

from strop.messages import plain
from strop.reading import read
from strop.records import Choice, Model
from strop.rpc import Rpc
from strop.v1 import models_pb2, rewards_pb2
from strop.v1.models_pb2_grpc import ModelsStub
from strop.v1.rewards_pb2_grpc import RewardsStub


class Models:
    """Base models of the operator's catalogue, and adapters' versions."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def list(self) -> builtins.list[Model]:
        """Base models, then adapters' versions, newest first."""
        found = self._rpc.call(ModelsStub, "List", models_pb2.ModelsListRequest())
        return [read(Model, plain(each)) for each in found.data]

    def get(self, name: str) -> Model:
        """One model: a base model, an adapter (its newest version), or adapter@2. Raises NotFound."""
        return read(Model, plain(self._rpc.call(ModelsStub, "Get", models_pb2.ModelsGetRequest(name=name)).model))


class Rewards:
    """What a job may search for."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def list(self) -> builtins.list[Choice]:
        """Each reward with the JSON Schema of its parameters."""
        found = self._rpc.call(RewardsStub, "List", rewards_pb2.RewardsListRequest())
        return [read(Choice, plain(each)) for each in found.data]


class Methods:
    """How a job may train."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def list(self) -> builtins.list[Choice]:
        """Each method with the JSON Schema of its hyper-parameters."""
        found = self._rpc.call(ModelsStub, "ListMethods", models_pb2.ListMethodsRequest())
        return [read(Choice, plain(each)) for each in found.data]
