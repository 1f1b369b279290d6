"""What callers may name: base models and adapters, rewards, methods."""

from typing import Annotated

from fastapi import Path

from service.domain.methods import METHODS
from service.domain.rewards import REWARDS
from service.rest.asking import Ask, Asker, refusals, router
from service.wire import shapes
from service.wire.queries import MAX_MODEL_NAME

models = router("models")


@models.get("/models", responses=refusals(503))
def list_models(ask: Ask, asker: Asker) -> shapes.List[shapes.Model]:
    """Base models of the operator's catalogue, then adapters' versions, newest first."""
    return shapes.whole(ask.models.list(asker), shapes.Model.of)


@models.get("/models/{name}", responses=refusals(404, 503))
def get_model(
    name: Annotated[
        str, Path(max_length=MAX_MODEL_NAME, description="A base model, an adapter (its newest version), adapter@2.")
    ],
    ask: Ask,
    asker: Asker,
) -> shapes.Model:
    """One model by its name."""
    return shapes.Model.of(ask.models.resolve(asker, name))


@models.get("/rewards", responses=refusals())
def list_rewards(asker: Asker) -> shapes.List[shapes.Choice]:
    """The rewards that a job may name, with the JSON Schema of their parameters."""
    return shapes.whole(REWARDS, lambda each: shapes.choice("reward", each))


@models.get("/methods", responses=refusals())
def list_methods(asker: Asker) -> shapes.List[shapes.Choice]:
    """The training methods that a job may name, each hyper-parameter with its bound and its default."""
    return shapes.whole(METHODS, lambda each: shapes.choice("method", each))
