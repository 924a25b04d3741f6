"""Names that are the same though they are written otherwise."""

import unicodedata


def composed(name: str) -> str:
    """A name with each accent in one character with its letter, unlike in names of macOS."""
    return unicodedata.normalize("NFC", name)


def fold(name: str) -> str:
    """A name without what people and file systems may change in it: case, and how accents are."""
    return composed(name).casefold()
