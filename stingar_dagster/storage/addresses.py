"""Addresses of Azure's storage, as Event Grid writes them: which account, which object of a store.

`https://account.blob.core.windows.net/container/path`, the same at the `dfs` and `queue` endpoints,
and Azurite's form with the account as the first part of the path.
"""

from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from stingar_dagster.storage.base import Store

if TYPE_CHECKING:
    from stingar_dagster.storage.azure_access import Access

_SERVICES: Final = frozenset(("blob", "dfs", "queue"))


def account_of(parts: SplitResult) -> str:
    """The storage account in an address."""
    account, *rest = (parts.hostname or "").split(".")
    return account if _SERVICES & set(rest) else parts.path.strip("/").split("/", 1)[0]


def is_on_azure(store: Store) -> bool:
    """Whether Event Grid can tell of the store's objects."""
    return _access(store) is not None


def path_of(store: Store, url: str) -> str | None:
    """A blob's path below a store's root; None where it is not of that account and folder."""
    access = _access(store)
    if access is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    account = account_of(parts)
    if account != account_of(urlsplit(access.endpoint)):
        return None
    path = unquote(parts.path).lstrip("/")
    if account not in (parts.hostname or ""):
        path = path.removeprefix(f"{account}/")
    root = f"{access.container}/{access.folder}".rstrip("/")
    below = path.removeprefix(f"{root}/")
    return below if path.startswith(f"{root}/") and below else None


def _access(store: Store) -> "Access | None":
    # Only AzureStore has one. To ask for its class would import Azure's libraries: a second, which
    # a run over local folders can spare.
    return getattr(store, "access", None)
