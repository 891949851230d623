"""Text that attackers chose, made harmless where people read it.

Published JSON keeps every character; terminals, spreadsheets and web pages get these forms. Not
here: what is shown.
"""

import re
from typing import Final

_UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# As OWASP lists them, the full-width forms of East Asian spreadsheets included.
_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
# Where the decimal sign is a comma, spreadsheets part cells at semicolons, and quotes don't help.
_FORMULA_BEHIND: Final = re.compile(";(?=[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")


def visible(text: str, longest: int | None = None) -> str:
    r"""Control, direction and zero-width characters as `\u202e`; cut to `longest` characters.

    Keeps terminals from obeying escape sequences, and text from reading backwards.
    """
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def spreadsheet_cell(text: str) -> str:
    """A value that no spreadsheet takes for a formula."""
    text = _FORMULA_BEHIND.sub(";'", text)
    return f"'{text}" if text.startswith(_FORMULA) else text
