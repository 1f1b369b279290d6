"""The job's own pictures, out of the uploaded archive into the scratch folder, for a child that has neither store nor zip.

The archive was checked whole when it was uploaded, and is checked again here: names, links, sizes as unpacked. No name of
its own is ever opened: pictures are numbered, and an index says which is which.
"""

import json
from pathlib import Path

from service.domain import archives
from service.domain.errors import InvalidRequest
from worker.attempt.staging import NotStaged

INDEX = "pictures.jsonl"


def unpack(archive: Path, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """(index, captions: each once, in the order of their first pictures). Raises NotStaged `images_unreadable`.

    A line of the index is {"file": its path below the index, "name": its name in the archive, "prompt": its caption}.
    """
    folder.mkdir()
    lines = []
    captions = dict[str, None]()  # a set that keeps its order
    try:
        for number, (name, caption, content) in enumerate(archives.read_pictures(archive)):
            (folder / str(number)).write_bytes(content)
            lines.append(json.dumps({"file": str(number), "name": name, "prompt": caption}) + "\n")
            captions[caption] = None
    except InvalidRequest as error:
        text = f"the archive of pictures cannot be unpacked: {error.message}; upload it again, and post the job anew"
        raise NotStaged(text, code="images_unreadable") from error
    index = folder / INDEX
    index.write_text("".join(lines), encoding="utf-8")
    return index, tuple(captions)
