"""From a URL in a setting to a store."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import fsspec

from stingar_dagster.errors import SettingsError
from stingar_dagster.settings import environment
from stingar_dagster.storage.base import Store
from stingar_dagster.storage.local import LocalStore
from stingar_dagster.storage.objects import ObjectStore
from stingar_dagster.storage.patience import PATIENCE, Patience

_AZURE: Final = ("abfs", "abfss", "az")


def open_store(url: str, setting: str, patience: Patience = PATIENCE) -> Store:
    """The store at `url`; nothing is read or written yet.

    Args:
        url: a path, `file://` or any fsspec URL; `abfs://container@account.dfs.core.windows.net/x`
            and `az://container/x` included.
        setting: the setting's name, for messages.
        patience: with Azure.

    Raises:
        SettingsError: the scheme is unknown, its package is missing, or credentials don't fit.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        return LocalStore(Path(rest if separator else url).absolute(), rest if separator else url)
    if "?" in rest or _has_password(url):
        raise SettingsError(
            f"{setting}: write the address without a token or password; "
            "credentials go into variables of their own (README, On Azure)"
        )
    if scheme in _AZURE:
        # Azure's libraries take a second to import, which a command over local folders can spare.
        from stingar_dagster.storage.azure import AzureStore
        from stingar_dagster.storage.azure_access import access_to

        return AzureStore(access_to(url, setting, environment()), patience)
    try:
        # A stale listing hides captures.
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    except (ValueError, ImportError) as error:
        raise SettingsError(
            f"{setting}={url}: {str(error).splitlines()[0]}; use a folder, "
            "az://container/path or another fsspec URL"
        ) from error
    return ObjectStore(fs, root, url)


def _has_password(url: str) -> bool:
    try:
        return bool(urlsplit(url).password)
    except ValueError:  # no address at all: said below
        return False
