"""Addresses of Azure's storage, as Event Grid writes them: which account, which object of a store.

`https://account.blob.core.windows.net/container/path`, the same at the `dfs` and `queue` endpoints,
and Azurite's form with the account as the first part of the path.
"""

from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from stingar_dagster.storage.azure import AzureStore
from stingar_dagster.storage.base import Store

_SERVICES: Final = frozenset(("blob", "dfs", "queue"))


def account_of(parts: SplitResult) -> str:
    """The storage account in an address."""
    account, *rest = (parts.hostname or "").split(".")
    return account if _SERVICES & set(rest) else parts.path.strip("/").split("/", 1)[0]


def is_on_azure(store: Store) -> bool:
    """Whether Event Grid can tell of the store's objects."""
    return isinstance(store, AzureStore)


def path_of(store: Store, url: str) -> str | None:
    """A blob's path below a store's root; None where it is not of that account and folder."""
    if not isinstance(store, AzureStore):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    account = account_of(parts)
    if account != store.fs.service_client.account_name:
        return None
    path = unquote(parts.path).lstrip("/")
    if account not in (parts.hostname or ""):
        path = path.removeprefix(f"{account}/")
    below, root = path.removeprefix(f"{store.root}/"), store.root
    return below if path.startswith(f"{root}/") and below else None
