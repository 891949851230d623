"""What Azure's refusals and failures mean for an operator: one line, with what to do.

The line names the setting, the address, the service's code, who asked, and the role or permission
that is missing. The texts of Azure's own errors are left out: they span many lines, and some quote
requests with their signatures. Codes:
https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
Not here: who asks (`azure_access`).
"""

import re
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
)
from requests.exceptions import SSLError

from stingar_dagster.errors import StoreDenied, StoreUnavailable
from stingar_dagster.storage.azure_access import Access, Kind


class Task(Enum):
    """What was asked for, and the words for it."""

    READ = "read"
    LIST = "listed"
    WRITE = "written"
    REMOVE = "removed"

    @property
    def changes(self) -> bool:
        return self in (Task.WRITE, Task.REMOVE)


_MISSING: Final = {
    "AuthorizationPermissionMismatch",
    "InsufficientAccountPermissions",
    "UnauthorizedBlobOverwrite",
    "AuthorizationResourceTypeMismatch",
    "AuthorizationServiceMismatch",
}
"""It is known who asks, and a role or permission is missing."""

_ADVICE: Final = {
    "AuthorizationSourceIPMismatch": "it is not valid from this machine's address",
    "AuthorizationProtocolMismatch": "it is valid over https only",
    "KeyBasedAuthenticationNotPermitted": (
        "the account takes no keys, nor signatures made with one; use a managed identity or a "
        "service principal"
    ),
    "PublicAccessNotPermitted": "the account gives nothing to the public; name a credential",
    "NoAuthenticationInformation": "name a credential",
    "AccountIsDisabled": "the storage account is disabled",
    "ContainerNotFound": "there is no such container; check the address",
    "ContainerBeingDeleted": "the container is being deleted",
    "ResourceNotFound": "there is no such container; check the address",
    "InvalidResourceName": "that is no name for a container or blob; check the address",
    "BlobImmutableDueToPolicy": "an immutability policy keeps it as it is; take it off this one",
    "LeaseIdMissing": "another program holds a lease on it",
    "BlobArchived": "it is in the archive tier; bring it back to a tier that can be read",
    "SnapshotsPresent": "it has snapshots, which have to be deleted first",
}

_OF_ENTRA: Final = {
    "AADSTS7000215": "AZURE_CLIENT_SECRET is not this principal's secret (its value, not its id)",
    "AADSTS7000222": "its secret has expired; make a new one and set AZURE_CLIENT_SECRET",
    "AADSTS700016": "AZURE_CLIENT_ID is not in this tenant; check it and AZURE_TENANT_ID",
    "AADSTS90002": "there is no such tenant; check AZURE_TENANT_ID and AZURE_AUTHORITY_HOST",
    "AADSTS900023": "AZURE_TENANT_ID is no tenant's id",
    "AADSTS700024": "its federated token has expired; look at what renews the token file",
    "AADSTS700213": "no federated credential of it fits this machine's token",
    "AADSTS70021": "no federated credential of it fits this machine's token",
}
"""https://learn.microsoft.com/entra/identity-platform/reference-error-codes"""

_BUSY: Final = (408, 429, 500, 502, 503, 504)


def told(
    error: AzureError, access: Access, place: str, task: Task
) -> StoreDenied | StoreUnavailable:
    """The error to raise for one of Azure's.

    Args:
        error: as Azure's library raised it.
        access: whose container was asked.
        place: what was asked for.
        task: what was to be done with it.
    """
    where = f"{access.setting}: {place}"
    code = getattr(error, "error_code", None)
    code = str(getattr(code, "value", code) or "")
    if isinstance(error, ClientAuthenticationError) and not code:
        return StoreDenied(f"{where}: there is no token for {access.identity}; {_no_token(error)}")
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if status is None or status in _BUSY or status < 400:
        return _unreachable(error, where, code)
    name = code or f"{status}"
    return StoreDenied(
        f"{where}: refused ({name}) to {access.identity}; {_advice(code, access, task)}"
    )


def _advice(code: str, access: Access, task: Task) -> str:
    if access.ends is not None and access.ends <= datetime.now(UTC):
        return f"it ended at {access.ends:%Y-%m-%d %H:%M} UTC; make a new one"
    if code in _MISSING:
        return _needed(access, task)
    if code in _ADVICE:
        return _ADVICE[code]
    if code in ("AuthenticationFailed", "InvalidAuthenticationInfo"):
        return _not_valid(access)
    if code == "AuthorizationFailure":
        # The service says no more: a firewall answers so.
        network = "let this machine's network through the account's firewall"
        or_else = _not_valid(access) if access.kind is Kind.KEY else _needed(access, task)
        return f"{network}, or {or_else}"
    return "check the address, the container, the credential and its role"


def _needed(access: Access, task: Task) -> str:
    """The role or permissions that the task takes."""
    is_landing = access.setting == "STINGAR_LANDING"
    why = ""
    if not is_landing:
        role = "Storage Blob Data Contributor"
        permissions = "read, create, write, delete and list (sp=rcwdl)"
        if not task.changes:
            why = "; to search and to verify, reading and listing are enough"
    elif task.changes:
        role = "Storage Blob Data Contributor"
        permissions = "read, create and list (sp=rcl)"
        why = "; only what lands captures writes there, such as `stingar land`"
    else:
        role = "Storage Blob Data Reader"
        permissions = "read and list (sp=rl)"
    on = f"on the container {access.container}"
    if access.kind is Kind.ROLE:
        return f"give it the role {role} {on}{why}"
    if access.kind is Kind.SIGNATURE:
        return f"make one for {permissions} {on}{why}"
    if access.kind is Kind.NOBODY:
        return f"name a credential that may {permissions} {on}{why}"
    return f"check what the account allows to its keys {on}"


def _not_valid(access: Access) -> str:
    if access.kind is Kind.SIGNATURE:
        return (
            f"make a new one: it is not for the container {access.container} of this account, "
            "or the key it was made with was renewed, or it was cut off"
        )
    if access.kind is Kind.KEY:
        return "copy the key again: it is not one of this account, or was renewed"
    return "its token is not valid for this account; check the tenant and this machine's clock"


def _no_token(error: ClientAuthenticationError) -> str:
    found = re.search(r"AADSTS\d+", str(error))
    if found:
        code = found[0]
        return _OF_ENTRA.get(code, "check AZURE_TENANT_ID, AZURE_CLIENT_ID and its secret") + (
            f" ({code})"
        )
    return (
        "this machine has no such identity: give it one, run `az login`, or name another "
        "credential (README, On Azure)"
    )


def _unreachable(error: AzureError, where: str, code: str) -> StoreDenied | StoreUnavailable:
    problem = error.inner_exception
    # The host that was asked may be the one that gives tokens.
    found = re.search(r"host='([\w.-]+)'", str(error))
    host = found[1] if found else ""
    if isinstance(problem, SSLError) or "CERTIFICATE_VERIFY_FAILED" in str(problem):
        return StoreDenied(
            f"{where}: {host} shows a certificate that is not trusted here; where it is your own "
            "or a proxy's, name its authority's file in REQUESTS_CA_BUNDLE"
        )
    if type(problem).__name__ == "NameResolutionError":
        return StoreUnavailable(
            f"{where}: not reachable, there is no host {host}; check the storage account's name, "
            "the address and the network, then run again"
        )
    names = [type(error).__name__, type(problem).__name__ if problem else "", code]
    name = " / ".join(part for part in names if part)
    at = f" at {host}" if host else ""
    return StoreUnavailable(
        f"{where}: not reachable{at} ({name}); check the address and the network, then run again"
    )
