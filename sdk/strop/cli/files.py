"""`strop files …`"""

import argparse

from strop.cli.verb import Out, Verb
from strop.client import Client


def upload(client: Client, given: argparse.Namespace, out: Out) -> None:
    file = client.files.upload(given.path)
    out.record(file, f"{file.id}  {file.prompts:,} prompts  {file.bytes:,} bytes")


def upload_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", help="text (a prompt a line), JSONL with `prompt`, or a zip of pictures with captions"
    )


VERBS = {
    "upload": Verb(
        "upload prompts or pictures; the id goes into a job's prompts_file or images_file", upload, upload_arguments
    )
}
