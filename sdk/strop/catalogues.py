"""`client.models`, `client.rewards`, `client.methods`: what a job and a picture may name, over gRPC."""

import builtins

from strop.messages import plain
from strop.reading import read
from strop.records import Alias, Choice, Model
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
        """One model: a base model, an adapter (its newest version), adapter@2 or adapter@alias. Raises NotFound.

        Of an adapter, `adapter` has all versions and aliases of its name.
        """
        return read(Model, plain(self._rpc.call(ModelsStub, "Get", models_pb2.ModelsGetRequest(name=name)).model))

    def set_alias(
        self,
        name: str,
        alias: str,
        version: int,
        *,
        needs_receipt: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Alias:
        """Let `name@alias` mean that version of the adapter from now on, in one step.

        needs_receipt: True lets it move only to versions whose receipt passed; None leaves that as it was. Raises NotFound,
        InvalidRequest for what is no alias or no version, Conflict where a receipt is needed and missing.
        """
        request = models_pb2.ModelsSetAliasRequest(
            name=name, alias=alias, version=version, needs_receipt=needs_receipt
        )  # fmt: skip
        return read(Alias, plain(self._rpc.change(ModelsStub, "SetAlias", request, idempotency_key).alias))

    def delete_alias(self, name: str, alias: str, *, idempotency_key: str | None = None) -> None:
        """Take an alias away; its version stays. Raises NotFound."""
        request = models_pb2.ModelsDeleteAliasRequest(name=name, alias=alias)
        self._rpc.change(ModelsStub, "DeleteAlias", request, idempotency_key)

    def delete(self, name: str, *, force: bool = False, idempotency_key: str | None = None) -> None:
        """Delete `name@2`, or all versions of `name`, for ever; the job that made it stays. Raises NotFound, InvalidRequest
        for an alias, and Conflict: an alias points to it (`force` takes that away too), or a job begins with it.
        """
        request = models_pb2.ModelsDeleteRequest(name=name, force=force)
        self._rpc.change(ModelsStub, "Delete", request, idempotency_key)


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
