"""HTML pages, made of templates."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from utils.errors import shown
from utils.files import write_text


def write_page(path: Path, template: Path, **values: Any) -> None:
    """Write a page, in which all values are escaped.

    Args:
        path: the file.
        template: of Jinja; its filter ``plain`` makes a single printable line of a text.
        values: that the template names; each must be given.
    """
    page = _environment(template.parent).get_template(template.name).render(values)
    write_text(path, page)


@lru_cache(maxsize=4)
def _environment(folder: Path) -> Environment:
    """What keeps the compiled templates of a folder."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = shown
    return environment
