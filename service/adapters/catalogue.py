"""The operator's catalogue as a TOML file; folders in it are relative to it."""

from pathlib import Path, PurePosixPath

from service.domain.catalogue import Catalogue, CatalogueError


def load(path: Path) -> Catalogue:
    """Raises CatalogueError when the file is missing or does not fit."""
    path = path.resolve()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(
            f"the catalogue {path} cannot be read: {error}; set STROP_CATALOGUE to a TOML file"
        ) from error
    return Catalogue.parse(text, root=PurePosixPath(path.parent))
