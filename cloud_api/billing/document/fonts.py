"""The CJK typeface of documents: where it lies, and a check that it is really there."""

from functools import lru_cache
from pathlib import Path

import typst

_PACKAGE = Path(__file__).resolve().parents[2]
_CANDIDATES = (
    _PACKAGE / "web" / "static" / "vendor" / "fonts",
    Path("/usr/share/fonts/opentype/noto"),
    Path("/usr/share/fonts/truetype/noto"),
)
FAMILIES = ("Noto Sans SC", "Noto Sans CJK SC")


class FontMissing(RuntimeError):
    """No typeface with Chinese glyphs was found; without one documents would lose characters silently."""


@lru_cache(maxsize=1)
def font_paths() -> tuple[list[Path], str]:
    """Return the folders for typst and the family that they hold. Raises FontMissing with the remedy."""
    for folder in (f for f in _CANDIDATES if f.is_dir()):
        known = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[folder]).families()
        family = next((f for f in FAMILIES if f in known), None)
        if family is not None:
            return [folder], family
    raise FontMissing("no Chinese typeface for documents: run `make assets`, or install Debian's fonts-noto-cjk")
