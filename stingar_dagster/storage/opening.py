"""From a URL in a setting to a store."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import fsspec

from stingar_dagster.errors import SettingsError
from stingar_dagster.storage.azure import AzureStore
from stingar_dagster.storage.base import Store
from stingar_dagster.storage.local import LocalStore
from stingar_dagster.storage.objects import ObjectStore

_AZURE: Final = ("abfs", "abfss", "az")


def open_store(url: str, setting: str) -> Store:
    """The store at `url`; nothing is read or written yet.

    Args:
        url: a path, `file://` or any fsspec URL; `abfs://container@account.dfs.core.windows.net/x`
            and `az://container/x` included.
        setting: the setting's name, for messages.

    Raises:
        SettingsError: the scheme is unknown, its package is missing, or credentials don't fit.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        return LocalStore(Path(rest if separator else url).absolute(), rest if separator else url)
    if "?" in rest or urlsplit(url).password:
        raise SettingsError(
            f"{setting}: write the address without a token or password; "
            "credentials go into the AZURE_STORAGE_* variables"
        )
    try:
        fs, root = fsspec.core.url_to_fs(url, **_options(scheme))
    except (ValueError, ImportError) as error:
        raise SettingsError(
            f"{setting}={url}: {str(error).splitlines()[0]}; use a folder, "
            "az://container/path or another fsspec URL"
        ) from error
    kind = AzureStore if scheme in _AZURE else ObjectStore
    return kind(fs, root, url)


def _options(scheme: str) -> dict[str, Any]:
    if scheme in _AZURE:
        # adlfs serves stale listings from its cache, and opens 2,500 connections by default.
        return {
            "use_listings_cache": False,
            "skip_instance_cache": True,
            "max_concurrency": 8,
            "connection_timeout": 10,
            "read_timeout": 60,
        }
    return {"use_listings_cache": False, "skip_instance_cache": True}
