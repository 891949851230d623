"""Which container of which account an address means, and with what identity it is asked.

Here: addresses, endpoints, sovereign clouds, and the choice among the credentials that the
environment and `.env` hold. Not here: requests (`azure`), nor what a refusal means
(`azure_errors`).

One store's own variables come first (`STINGAR_LANDING_SAS_TOKEN`), then those that every tool for
Azure reads (`AZURE_STORAGE_SAS_TOKEN`); then a service principal; then what azure-identity finds:
a workload's or machine's managed identity, or `az login`. Each is passed to Azure's client as it
is: nothing else is read from the environment behind its back, so that a variable for the lake can
never reach landing.
"""

import asyncio
import base64
import binascii
import functools
import hashlib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from azure.core.credentials import (
    AccessToken,
    AzureNamedKeyCredential,
    AzureSasCredential,
    TokenCredential,
)
from azure.core.utils import parse_connection_string
from azure.storage.blob.aio import BlobServiceClient

from stingar_dagster.errors import SettingsError

PUBLIC_AUTHORITY: Final = "login.microsoftonline.com"
_AUTHORITIES: Final = {
    "core.usgovcloudapi.net": "login.microsoftonline.us",
    "core.chinacloudapi.cn": "login.chinacloudapi.cn",
}
"""Where identities of other clouds get their tokens: azure-identity's AzureAuthorityHosts."""

_HOST: Final = re.compile(r"(?P<account>[a-z0-9-]+)(?P<zone>\.z\d+)?\.(?:dfs|blob)\.(?P<suffix>.+)")
"""https://learn.microsoft.com/azure/storage/common/storage-account-overview, endpoints."""

_CONTAINER: Final = re.compile(r"\$?[a-z0-9](?:-?[a-z0-9]){2,62}")
"""https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers"""

_SUFFIX: Final = "core.windows.net"
_USE_AZURITE: Final = ("UseDevelopmentStorage=true", "UseDevelopmentStorage=true;")
_AZURITE: Final = (
    "AccountName=devstoreaccount1;BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;AccountKey="
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""What that stands for: the account of Azure's emulator, the same everywhere."""

_READ_BY_IDENTITY: Final = ("AZURE_", "IDENTITY_", "MSI_", "IMDS_")
_OFF: Final = ("", "0", "f", "false", "no")

# Where a token can't be had, azure-identity logs a paragraph; without a handler Python prints it.
logging.getLogger("azure.identity").addHandler(logging.NullHandler())


class Kind(Enum):
    """What a permission is given to."""

    ROLE = "an identity that holds roles"
    SIGNATURE = "a shared access signature, which holds its permissions itself"
    KEY = "an account key, which may do everything"
    NOBODY = "no credential"


@dataclass(frozen=True, slots=True)
class Access:
    """One container, and who asks for it.

    Attributes:
        setting: the setting that holds the address.
        address: as the operator wrote it.
        container, folder: what the address means; the folder is relative to the container.
        endpoint: of the account's blob service, without a credential.
        kind: what a permission is given to.
        identity: who asks, for messages: it names variables and client ids, never a secret.
        ends: until when the credential is valid (UTC), where it says so itself.
        credential: as Azure's client takes it.
    """

    setting: str
    address: str
    container: str
    folder: str
    endpoint: str
    kind: Kind
    identity: str
    ends: datetime | None = None
    credential: Any = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """Differs where the credential does, and tells nothing of it."""
        match self.credential:
            case AzureNamedKeyCredential():
                secret = self.credential.named_key.key
            case AzureSasCredential():
                secret = self.credential.signature
            case _:
                # Kept for each principal and its secret, so the object itself tells them apart.
                return str(id(self.credential))
        return hashlib.sha256(secret.encode()).hexdigest()

    def client(self, **options: Any) -> BlobServiceClient:
        """A client of the account; no request is made."""
        asks: Any = _InThread(self.credential) if self.kind is Kind.ROLE else self.credential
        return BlobServiceClient(self.endpoint, credential=asks, **options)


def access_to(url: str, setting: str, environ: Mapping[str, str]) -> Access:
    """What an `az://`, `abfs://` or `abfss://` address means, and the identity to ask with.

    Args:
        url: `abfs://container@account.dfs.core.windows.net/folder`, in any of Azure's clouds, or
            `az://container/folder`, whose account the environment names.
        setting: STINGAR_LANDING or STINGAR_LAKE; credentials may be for one of them.
        environ: the variables.

    Raises:
        SettingsError: the address names no container or account, or a credential is none.
    """
    account, endpoint, container, folder = _parts(url, setting)
    try:
        endpoint, credential = _endpoint_and_credential(url, setting, environ, account, endpoint)
    except _NoCredential as wrong:
        raise SettingsError(f"{setting}={url}: {wrong}") from None
    return Access(
        setting,
        url,
        container,
        folder,
        endpoint,
        credential.kind,
        credential.identity,
        credential.ends,
        credential.value,
    )


def credential_for(
    url: str, setting: str, environ: Mapping[str, str], account: str
) -> "Credential":
    """The identity to ask another of an account's services with, such as its queues.

    Args:
        url: of what is asked for.
        setting: the setting that holds it; credentials may be for it alone.
        environ: the variables.
        account: the storage account in the address.

    Raises:
        SettingsError: a credential is none, or is another account's.
    """
    try:
        return _endpoint_and_credential(url, setting, environ, account, url)[1]
    except _NoCredential as wrong:
        raise SettingsError(f"{setting}={url}: {wrong}") from None


def _endpoint_and_credential(
    url: str,
    setting: str,
    environ: Mapping[str, str],
    account: str | None,
    endpoint: str | None,
) -> tuple[str, "Credential"]:
    name, text = _first(environ, setting, "CONNECTION_STRING")
    if text:
        of, endpoint, credential = _of_connection_string(name, text)
        if account not in (None, of):
            raise _NoCredential(
                f"{name} is of another account ({of}); name one for this address alone in "
                f"{setting}_CONNECTION_STRING, or take it away"
            )
        return endpoint, credential
    endpoint = endpoint or _endpoint(environ)
    account = account or environ.get("AZURE_STORAGE_ACCOUNT_NAME") or _account_of(endpoint)
    name, text = _first(environ, setting, "ACCOUNT_KEY")
    if text:
        return endpoint, _of_key(name, text, account)
    name, text = _first(environ, setting, "SAS_TOKEN")
    if text:
        return endpoint, _of_signature(name, text)
    if environ.get("AZURE_STORAGE_ANON", "").lower() not in _OFF:
        return endpoint, Credential(Kind.NOBODY, "nobody, as AZURE_STORAGE_ANON says")
    return endpoint, _of_identity(environ, endpoint)


def _parts(url: str, setting: str) -> tuple[str | None, str | None, str, str]:
    """Account and endpoint, where the address names them, container and folder."""
    place, _, path = url.partition("://")[2].partition("/")
    container, at, host = place.rpartition("@")
    found = _HOST.fullmatch(host.lower())
    if at and found is None:
        raise SettingsError(
            f"{setting}={url}: {host!r} is no storage account's address; write "
            "abfs://container@account.dfs.core.windows.net/folder, or az://container/folder with "
            "AZURE_STORAGE_SERVICE_ENDPOINT"
        )
    if found is None:
        container = host
    elif not at:
        container, _, path = path.partition("/")
    if _CONTAINER.fullmatch(container) is None:
        raise SettingsError(
            f"{setting}={url}: {container!r} is no container's name; write "
            "abfs://container@account.dfs.core.windows.net/folder or az://container/folder"
        )
    if found is None:
        return None, None, container, path.strip("/")
    # Data Lake's own endpoint has no conditional upload; both show the same objects.
    endpoint = f"https://{found['account']}{found['zone'] or ''}.blob.{found['suffix']}"
    return found["account"], endpoint, container, path.strip("/")


def _first(environ: Mapping[str, str], setting: str, what: str) -> tuple[str, str]:
    """The store's own variable, else the common one; an empty one counts for nothing.

    A store's own credential of any kind keeps the common ones away from it.
    """
    kinds = ("CONNECTION_STRING", "ACCOUNT_KEY", "SAS_TOKEN")
    has_own = any(environ.get(f"{setting}_{kind}") for kind in kinds)
    name = f"{setting}_{what}" if has_own else f"AZURE_STORAGE_{what}"
    return name, environ.get(name, "").strip()


def _endpoint(environ: Mapping[str, str]) -> str:
    """Of an address that names no account."""
    endpoint = environ.get("AZURE_STORAGE_SERVICE_ENDPOINT", "").rstrip("/")
    if endpoint:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.query:
            raise _NoCredential(
                "AZURE_STORAGE_SERVICE_ENDPOINT is no address; write it like "
                "https://account.blob.core.windows.net"
            )
        return endpoint
    account = environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise _NoCredential(
            "the address names no storage account: write "
            "abfs://container@account.dfs.core.windows.net/folder, or set "
            "AZURE_STORAGE_ACCOUNT_NAME"
        )
    return f"https://{account}.blob.{_SUFFIX}"


def _account_of(endpoint: str) -> str | None:
    """The account that an endpoint's host names, or its path, as Azurite's does."""
    parts = urlsplit(endpoint)
    found = _HOST.fullmatch(parts.hostname or "")
    return found["account"] if found else parts.path.strip("/") or None


# ---- credentials


class _NoCredential(Exception):
    """A variable that should hold a credential holds none: the end of a line."""


@dataclass(frozen=True, slots=True)
class Credential:
    """As in Access."""

    kind: Kind
    identity: str
    value: Any = field(default=None, repr=False)
    ends: datetime | None = None


def _of_connection_string(name: str, text: str) -> tuple[str | None, str, Credential]:
    """The account, the endpoint and the credential that a connection string holds."""
    wrong = _NoCredential(
        f"{name} is no connection string; copy it whole from the storage account's page: "
        "it holds an AccountName or a BlobEndpoint, and an AccountKey or a SharedAccessSignature"
    )
    try:
        values = parse_connection_string(_AZURITE if text in _USE_AZURITE else text)
    except ValueError:
        raise wrong from None
    account, endpoint = values.get("accountname"), values.get("blobendpoint", "").rstrip("/")
    if not endpoint and not account:
        raise wrong
    if not endpoint:
        protocol = values.get("defaultendpointsprotocol", "https")
        endpoint = f"{protocol}://{account}.blob.{values.get('endpointsuffix', _SUFFIX)}"
    account = account or _account_of(endpoint)
    if key := values.get("accountkey"):
        return account, endpoint, _of_key(name, key, account)
    if signature := values.get("sharedaccesssignature"):
        return account, endpoint, _of_signature(name, signature)
    raise wrong


def _of_key(name: str, key: str, account: str | None) -> Credential:
    try:
        is_key = bool(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError):
        is_key = False
    if not is_key or not account:
        raise _NoCredential(f"{name}: the account key is none; copy it whole, to its last =")
    return Credential(Kind.KEY, f"the account key in {name}", AzureNamedKeyCredential(account, key))


def _of_signature(name: str, text: str) -> Credential:
    signature = text.partition("?")[2] if text.startswith("https://") else text.lstrip("?")
    values = parse_qs(signature)
    if "sig" not in values:
        raise _NoCredential(
            f"{name} is no shared access signature; copy it whole: it holds sv=, sp=, se= and sig="
        )
    ends = None
    try:
        ends = datetime.fromisoformat(values["se"][0])
        ends = ends.replace(tzinfo=UTC) if ends.tzinfo is None else ends.astimezone(UTC)
    except (KeyError, ValueError):
        pass  # with a stored access policy the end stands there
    return Credential(
        Kind.SIGNATURE,
        f"the shared access signature in {name}",
        AzureSasCredential(signature),
        ends,
    )


def _of_identity(environ: Mapping[str, str], endpoint: str) -> Credential:
    """A service principal with a secret, else whatever azure-identity finds."""
    if endpoint.startswith("http://"):
        raise _NoCredential(
            "tokens are sent over https only; name an https endpoint, or a key or signature"
        )
    authority = environ.get("AZURE_AUTHORITY_HOST") or _authority_of(endpoint)
    tenant, client, secret = (
        environ.get(f"AZURE_STORAGE_{name}") or environ.get(f"AZURE_{name}") or ""
        for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")
    )
    try:
        if secret:
            if not tenant or not client:
                raise _NoCredential(
                    "AZURE_CLIENT_SECRET is the secret of a service principal: "
                    "set AZURE_TENANT_ID and AZURE_CLIENT_ID, too"
                )
            value = _service_principal(tenant, client, secret, authority)
            return Credential(Kind.ROLE, f"service principal {client}", value)
        found = frozenset((k, v) for k, v in os.environ.items() if k.startswith(_READ_BY_IDENTITY))
        value = _default_identity(client, authority, found)
    except ValueError:
        raise _NoCredential(
            "AZURE_AUTHORITY_HOST, AZURE_TENANT_ID or AZURE_CLIENT_ID can't be used; "
            f"write them like {PUBLIC_AUTHORITY} and 00000000-0000-0000-0000-000000000000"
        ) from None
    name = f" {client}" if client else ""
    if environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        return Credential(Kind.ROLE, f"workload identity{name}", value)
    if tenant and client and environ.get("AZURE_CLIENT_CERTIFICATE_PATH"):
        return Credential(Kind.ROLE, f"service principal{name} (by certificate)", value)
    return Credential(Kind.ROLE, f"managed identity{name} (or az login)", value)


def _authority_of(endpoint: str) -> str:
    host = urlsplit(endpoint).hostname or ""
    found = (name for suffix, name in _AUTHORITIES.items() if host.endswith(f".{suffix}"))
    return next(found, PUBLIC_AUTHORITY)


class _InThread:
    """A credential for an asynchronous client.

    Those of azure-identity's own leave open sessions behind when a process ends, and complain.
    """

    def __init__(self, credential: TokenCredential) -> None:
        self._credential = credential

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return await asyncio.to_thread(self._credential.get_token, *scopes, **options)


# Kept as long as the process lives: a credential keeps its token, and a sensor opens its stores
# every few seconds. Landing and lake share one.


@functools.cache
def _service_principal(tenant: str, client: str, secret: str, authority: str) -> Any:
    from azure.identity import ClientSecretCredential

    return ClientSecretCredential(tenant, client, secret, **_of_cloud(authority))


@functools.cache
def _default_identity(client: str, authority: str, found: frozenset[tuple[str, str]]) -> Any:
    """`found` is what azure-identity reads from the environment: with other values, another."""
    from azure.identity import DefaultAzureCredential

    named = {"managed_identity_client_id": client} if client else {}
    return DefaultAzureCredential(**named, **_of_cloud(authority))


def _of_cloud(authority: str) -> dict[str, Any]:
    # Other clouds may be cut off from the public one, which would be asked whether they exist.
    return {"authority": authority, "disable_instance_discovery": authority != PUBLIC_AUTHORITY}
