"""What names and addresses are compared as, where one stream's are looked for in another's.

A name is compared as DNS does, an address as what it stands for: in any spelling of IPv6, as the
IPv4 one where it is IPv4-mapped, and under the name by which it is looked up backwards. So one text
stands for each, which can be told equal or not. Not here: which columns hold them.
"""

import socket
from ipaddress import IPv6Address
from typing import Final

from stingar_dagster.streams.names import LONGEST_NAME, compared

_BACKWARDS_V4: Final = ".in-addr.arpa"
_BACKWARDS_V6: Final = ".ip6.arpa"
_MAPPED: Final = bytes(10) + b"\xff\xff"
_EMBEDDED: Final = bytes(12)


def looked_up(text: str) -> str | None:
    """The name or address that a text stands for, as it is compared.

    Args:
        text: a name in any spelling, an address in any, or the name of one in `in-addr.arpa` or
            `ip6.arpa` (RFC 1035, 3.5; RFC 3596, 2.5).

    Returns:
        None where it is neither: empty, longer than a name may be, with blanks in it, or the root.
    """
    if not text or len(text) > LONGEST_NAME:
        return None
    found = address(text)
    if found is not None:
        return found
    name = compared(text)
    if name == "." or name.split() != [name]:
        return None
    return _backwards(name) or name


def address(text: str) -> str | None:
    """An address in the spelling in which it is compared (RFC 5952; an IPv4-mapped one as the IPv4
    one, RFC 4291, 2.5.5.2); None where the text is none."""
    if ":" in text:
        return _v6(text)
    # Nearly all texts are names: few of them end with a digit.
    if not text[-1:].isdigit() or not text.isascii():
        return None
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):  # none, or with a zero byte in it
        return None
    return text


def _v6(text: str) -> str | None:
    try:
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):  # none, or with what UTF-8 has no bytes for
        return None
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    # Systems write these otherwise.
    if packed.startswith(_EMBEDDED):
        return str(IPv6Address(packed))
    return socket.inet_ntop(socket.AF_INET6, packed)


def _backwards(name: str) -> str | None:
    """The address whose name for looking it up backwards this is."""
    if name.endswith(_BACKWARDS_V4):
        return address(".".join(reversed(name.removesuffix(_BACKWARDS_V4).split("."))))
    if name.endswith(_BACKWARDS_V6):
        digits = name.removesuffix(_BACKWARDS_V6).split(".")
        if len(digits) == 32 and all(len(digit) == 1 for digit in digits):
            text = "".join(reversed(digits))
            return address(":".join(text[place : place + 4] for place in range(0, 32, 4)))
    return None


def host_of(url: str) -> str | None:
    """The host that a link names, as `looked_up`; None where it names none.

    What stands between `://` and the next `/`, `?` or `#`, without what stands before an `@` and
    without a port (RFC 3986, 3.2).
    """
    _, found, rest = url.partition("://")
    if not found:
        return None
    for end in "/?#":
        rest = rest.partition(end)[0]
    host = rest.rpartition("@")[2]
    if host.startswith("["):
        return address(host[1:].partition("]")[0])
    if host.count(":") == 1:
        host = host.partition(":")[0]
    return looked_up(host)
