"""`strop models …`: base models and adapters, and what adapters' names mean."""

import argparse

from strop.cli.verb import Out, UsageError, Verb
from strop.client import Client
from strop.records import Model

HEADINGS = ("NAME", "KIND", "BASE", "PIXELS", "STEPS", "GUIDANCE", "ALIASES", "MADE BY", "LICENCE")


def list_models(client: Client, given: argparse.Namespace, out: Out) -> None:
    out.table(client.models.list(), HEADINGS, _row)


def show(client: Client, given: argparse.Namespace, out: Out) -> None:
    model = client.models.get(given.name)
    if out.json:
        out.record(model)
        return
    out.table([model], HEADINGS, _row)
    if model.adapter:
        out.console.print(f"versions: {', '.join(map(str, model.adapter.versions))}")
        for each in model.adapter.aliases:
            needs = "  moves only to versions with a passed receipt" if each.needs_receipt else ""
            out.console.print(f"{each.name} → {each.version}{needs}")


def show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a base model, an adapter, adapter@2 or adapter@alias")


def alias(client: Client, given: argparse.Namespace, out: Out) -> None:
    name, alias = _parts(given.alias)
    made = client.models.set_alias(name, alias, given.version, needs_receipt=given.needs_receipt)
    out.record(made, f"{made.name} → {made.version}")


def alias_arguments(parser: argparse.ArgumentParser) -> None:
    _one_alias(parser)
    parser.add_argument("version", metavar="VERSION", type=int, help="the version's number")
    parser.add_argument(
        "--needs-receipt",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="it moves only to versions whose receipt passed (default: as it was)",
    )


def unalias(client: Client, given: argparse.Namespace, out: Out) -> None:
    client.models.delete_alias(*_parts(given.alias))
    out.record({"name": given.alias, "deleted": True}, f"{given.alias} is gone")


def delete(client: Client, given: argparse.Namespace, out: Out) -> None:
    client.models.delete(given.name, force=given.force)
    out.record({"name": given.name, "deleted": True}, f"{given.name} is gone")


def delete_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="adapter@2, or an adapter's name: all its versions")
    parser.add_argument("--force", action="store_true", help="take away aliases that point to it, too")


def _one_alias(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("alias", metavar="NAME@ALIAS", help="red-things@stable")


def _parts(reference: str) -> tuple[str, str]:
    name, at, alias = reference.partition("@")
    if not (name and at and alias):
        raise UsageError(f"{reference}: write NAME@ALIAS")
    return name, alias


def _row(each: Model) -> tuple[object, ...]:
    aliases = ", ".join(each.aliases) or None
    return (
        each.name, each.kind, each.base_model, each.resolution, each.num_inference_steps, each.guidance_scale, aliases,
        each.job, each.licence,
    )  # fmt: skip


VERBS = {
    "list": Verb("show base models and adapters", list_models),
    "show": Verb("show one, with its versions and aliases", show, show_arguments),
    "alias": Verb("let an alias of an adapter point to a version", alias, alias_arguments),
    "unalias": Verb("take an alias away; its version stays", unalias, _one_alias),
    "delete": Verb("delete an adapter's version, or all of them, for ever", delete, delete_arguments),
}
