"""Files that jobs name: prompts and datasets."""

from typing import Annotated

from fastapi import Path, Response, UploadFile

from service.domain.ids import FileId
from service.rest.asking import Ask, Asker, IdempotencyKey, marked, refusals, router
from service.wire import shapes

files = router("files")


@files.post("/files", status_code=201, responses=refusals(413, 415, 422, 503))
def upload_file(
    file: UploadFile, response: Response, ask: Ask, asker: Asker, key: IdempotencyKey = None
) -> shapes.File:
    """Upload prompts (text, one a line; JSONL with `prompt`) or a zip of images with captions; at most 64 MiB.

    The content decides the kind, and is checked whole before anything is stored.
    """
    made, replayed = ask.files.upload(asker, file.filename or "", file.file, key)
    return shapes.File.of(marked(response, made, replayed))


@files.get("/files/{id}", responses=refusals(404, 503))
def get_file(id: Annotated[FileId, Path(description="The file's id: file_…")], ask: Ask, asker: Asker) -> shapes.File:
    """What was uploaded."""
    return shapes.File.of(ask.files.get(asker, id))
