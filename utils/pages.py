"""HTML pages, made of templates."""

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
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = shown
    write_text(path, environment.get_template(template.name).render(values))
