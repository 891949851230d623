"""Text that attackers chose, made harmless where people read it.

Published JSON keeps every character; terminals, spreadsheets and web pages get these forms. Not
here: what is shown.
"""

import re
from typing import Final

_UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def visible(text: str, longest: int | None = None) -> str:
    r"""Control, direction and zero-width characters as `\u202e`; cut to `longest` characters.

    Keeps terminals from obeying escape sequences, and text from reading backwards.
    """
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def spreadsheet_cell(text: str) -> str:
    """A value that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
