"""Signed receipts of adapters, and the public keys that check them."""

from functools import partial
from typing import Annotated

from fastapi import Path, Request, Response

from service.rest.asking import Ask, Asker, refusals, router
from service.wire import ranges
from service.wire.queries import MAX_MODEL_NAME
from service.wire.receipts import Key, Keys

receipts = router("receipts")


@receipts.head("/models/{name}/receipt", include_in_schema=False)
@receipts.get(
    "/models/{name}/receipt",
    response_class=Response,
    responses={
        200: {
            "description": "The signed receipt, byte for byte as it was signed.",
            "content": {"application/json": {}},
        },
        **refusals(404, 503),
    },
)
def get_receipt(
    *,
    name: Annotated[
        str, Path(max_length=MAX_MODEL_NAME, description="An adapter (its newest version), adapter@2, adapter@alias.")
    ],
    request: Request,
    ask: Ask,
    asker: Asker,
) -> Response:
    """What the adapter does beside its base model, signed. 404 receipt_missing says how far it is, where it is not signed."""
    file = ask.receipts.signed(asker, name)
    read = partial(ask.artifacts.read, file)
    return ranges.serve(request, file, read, keep=ranges.MOVING)  # the newest version, an alias: other ones later


@receipts.get("/.well-known/strop-keys", responses={503: refusals(503)[503]})
def get_keys(ask: Ask) -> Keys:
    """Every public key that ever signed a receipt here, as a JWK set (RFC 7517); the newest first."""
    return Keys(keys=[Key.of(each) for each in ask.receipts.public_keys()])
