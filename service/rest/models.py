"""What callers may name: base models and adapters, rewards, methods."""

from typing import Annotated

from fastapi import Path, Query, Response

from service.domain.adapters import ALIAS, AliasRequest
from service.domain.methods import METHODS
from service.domain.rewards import REWARDS
from service.rest.asking import Ask, Asker, Keyed, marked, refusals, router
from service.wire import shapes
from service.wire.queries import MAX_MODEL_NAME

models = router("models")
_MADE = {"description": "The alias is new.", "model": shapes.Alias}


Name = Annotated[str, Path(description="The adapter's name.")]
AliasName = Annotated[
    str,
    Path(
        description="The alias.", json_schema_extra={"pattern": ALIAS}
    ),  # checked by the operation, for every face alike
]


@models.get("/models", responses=refusals(503))
def list_models(ask: Ask, asker: Asker) -> shapes.List[shapes.Model]:
    """Base models of the operator's catalogue, then adapters' versions, newest first."""
    return shapes.whole(ask.models.list(asker), shapes.Model.of)


@models.get("/models/{name}", responses=refusals(404, 503))
def get_model(
    name: Annotated[
        str,
        Path(
            max_length=MAX_MODEL_NAME,
            description="A base model, an adapter (its newest version), adapter@2, adapter@alias.",
        ),
    ],
    ask: Ask,
    asker: Asker,
) -> shapes.Model:
    """One model by its name; of an adapter also all its versions and aliases."""
    return shapes.Model.shown(ask.models.show(asker, name))


@models.delete("/models/{name}", responses=refusals(404, 409, 422, 503))
def delete_model(
    *,
    name: Annotated[str, Path(description="adapter@2, or an adapter's name: all its versions.")],
    force: Annotated[
        bool, Query(description="True: aliases that point to it are taken away too, instead of a refusal.")
    ] = False,
    response: Response,
    ask: Ask,
    asker: Asker,
    keyed: Keyed,
) -> shapes.Deleted:
    """Delete an adapter's version, or all of them, for ever. The job that made it stays; its number is not used again."""
    gone = shapes.Deleted(object="model", name=name)
    return marked(response, gone, ask.adapters.delete(asker, name, force=force, keyed=keyed))


@models.put("/models/{name}/aliases/{alias}", responses={201: _MADE, **refusals(404, 409, 413, 415, 422, 503)})
def set_alias(
    *, name: Name, alias: AliasName, body: AliasRequest, response: Response, ask: Ask, asker: Asker, keyed: Keyed
) -> shapes.Alias:
    """Let adapter@alias mean that version from now on, in one step: readers see the version before or this one."""
    moved = ask.adapters.put_alias(asker, name, alias, body, keyed)
    if moved.created:
        response.status_code = 201
    return shapes.Alias.of(marked(response, moved.alias, moved.replayed))


@models.delete("/models/{name}/aliases/{alias}", responses=refusals(404, 409, 422, 503))
def delete_alias(
    *, name: Name, alias: AliasName, response: Response, ask: Ask, asker: Asker, keyed: Keyed
) -> shapes.Deleted:
    """Take an alias away; its version stays. One that needs a receipt is first moved with needs_receipt false."""
    gone = shapes.Deleted(object="alias", name=f"{name}@{alias}")
    return marked(response, gone, ask.adapters.delete_alias(asker, name, alias, keyed))


@models.get("/rewards", responses=refusals())
def list_rewards(asker: Asker) -> shapes.List[shapes.Choice]:
    """The rewards that a job may name, with the JSON Schema of their parameters."""
    return shapes.whole(REWARDS, lambda each: shapes.choice("reward", each))


@models.get("/methods", responses=refusals())
def list_methods(asker: Asker) -> shapes.List[shapes.Choice]:
    """The training methods that a job may name, each hyper-parameter with its bound and its default."""
    return shapes.whole(METHODS, lambda each: shapes.choice("method", each))
