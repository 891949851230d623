"""The entries in an answer of Azure's `List Blobs`.

Azure's client makes an object of fifty attributes for each name, which takes ten times as long as
all of this. A sensor lists thousands of names every few seconds. So the client is asked for names
alone, and what else an entry needs is read from the same answers. The format:
https://learn.microsoft.com/rest/api/storageservices/list-blobs
Not here: the request (`azure`).
"""

import base64
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote
from xml.etree import ElementTree

from stingar_dagster.storage.base import Entry

FOLDER_MARK: Final = "hdi_isfolder"
"""With a hierarchical namespace, folders stand in listings as empty blobs with this metadata."""


def entries_in(body: bytes, inside: str) -> Iterator[Entry | None]:
    """What an answer lists: an entry for each object, None for each folder.

    Args:
        body: XML.
        inside: the start of every name, which paths are relative to.
    """
    for blob in ElementTree.fromstring(body).iterfind("Blobs/Blob"):
        metadata = {item.tag.lower(): item.text for item in blob.iterfind("Metadata/*")}
        if metadata.get(FOLDER_MARK) == "true":
            yield None
            continue
        name = blob.findtext("Name", "")
        if blob.find("Name[@Encoded='true']") is not None:  # it holds what XML can't
            name = unquote(name)
        found = {item.tag: item.text or "" for item in blob.iterfind("Properties/*")}
        # Of one upload the service sets the MD5, of blocks only the writer can.
        md5 = found.get("Content-MD5")
        yield Entry(
            name.removeprefix(inside),
            found["Etag"].strip('"'),
            int(found["Content-Length"]),
            parsedate_to_datetime(found["Last-Modified"]),
            base64.b64decode(md5) if md5 else None,
        )
