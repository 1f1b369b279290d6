"""`strop models [NAME]`"""

import argparse

from strop.cli.verb import Out, Verb
from strop.client import Client


def models(client: Client, given: argparse.Namespace, out: Out) -> None:
    found = [client.models.get(given.name)] if given.name else client.models.list()
    out.table(
        found,
        ("NAME", "KIND", "BASE", "PIXELS", "STEPS", "GUIDANCE", "MADE BY", "LICENCE"),
        lambda each: (
            each.name, each.kind, each.base_model, each.resolution, each.num_inference_steps, each.guidance_scale,
            each.job, each.licence,
        ),
    )  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="only this one")


VERB = Verb("show base models and adapters", models, arguments)
