"""`strop rewards`, `strop methods`: what a job may name. --json shows the schema of the parameters."""

import argparse

from strop.cli.verb import Out, Verb
from strop.client import Client

HEADINGS = ("TYPE", "WHAT IT IS")


def rewards(client: Client, given: argparse.Namespace, out: Out) -> None:
    out.table(client.rewards.list(), HEADINGS, lambda each: (each.type, each.description))


def methods(client: Client, given: argparse.Namespace, out: Out) -> None:
    out.table(client.methods.list(), HEADINGS, lambda each: (each.type, each.description))


REWARDS = Verb("show the rewards that a job may name", rewards)
METHODS = Verb("show the training methods that a job may name", methods)
