"""What the Bicep files must hold: nothing public, no shared keys, exactly the intended rights."""

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from stingar_dagster.capture.names import CaptureFormat
from stingar_dagster.lake.layout import Layout
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.deploy.bicep import AZURE, Bicep, Expression, Resource, load_all, parse

FILES: Final = load_all()
MAIN: Final = FILES["main.bicep"]
MODULES: Final = {name: file for name, file in FILES.items() if name != "main.bicep"}
DEPLOYED: Final = [
    (name, resource)
    for name, file in FILES.items()
    for resource in file.resources
    if not resource.existing
]
PARAMETER_FILES: Final = ("test.parameters.json", "production.parameters.json")
GIVEN_BY_DEPLOY_SH: Final = {
    "image", "registryName", "registryResourceGroup", "signInClientId", "alertEmails",
    "databasePassword",
}  # fmt: skip

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES: Final = {
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": "AcrPull",
    "2b629674-e913-4c01-ae53-ef4638d8f975": "Azure Event Hubs Data Sender",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Storage Blob Data Reader",
    "db58b8e5-c6ad-4a2a-8342-4190687cbf4a": "Storage Blob Delegator",
    "8a0f0c08-91a1-4084-bc3d-661d67233fed": "Storage Queue Data Message Processor",
    "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a": "Storage Queue Data Message Sender",
}

# Who, as what kind of principal; role; on what.
INTENDED: Final = {
    ("pipeline", "ServicePrincipal", "Storage Blob Data Reader", "landing"),
    ("pipeline", "ServicePrincipal", "Storage Blob Data Contributor", "lake"),
    ("pipeline", "ServicePrincipal", "Storage Blob Data Contributor", "computeLogs"),
    ("pipeline", "ServicePrincipal", "Storage Queue Data Message Processor", "noticesQueue"),
    ("pipeline", "ServicePrincipal", "Key Vault Secrets User", "secret"),
    ("pipeline", "ServicePrincipal", "AcrPull", "registry"),
    ("console", "ServicePrincipal", "Storage Blob Data Reader", "computeLogs"),
    ("console", "ServicePrincipal", "Storage Blob Delegator", "lakeAccount"),
    ("console", "ServicePrincipal", "Key Vault Secrets User", "secret"),
    ("console", "ServicePrincipal", "AcrPull", "registry"),
    ("capture", "ServicePrincipal", "Storage Blob Data Contributor", "landing"),
    ("notices", "ServicePrincipal", "Storage Queue Data Message Sender", "noticesQueue"),
    ("shipper", "shipper.principalType", "Azure Event Hubs Data Sender", "hub"),
    ("group", "Group", "Storage Blob Data Reader", "lake"),
    ("partner", "partner.principalType", "Storage Blob Data Reader", "lake"),
}


def deployed(kind: str) -> list[Resource]:
    """Every resource of a type that is made, not only referred to; there must be some."""
    found = [r for _, r in DEPLOYED if r.type.split("@")[0] == kind]
    assert found, kind
    return found


def assignments() -> list[tuple[str, Resource]]:
    return [
        (name, resource)
        for name, resource in DEPLOYED
        if resource.type.startswith("Microsoft.Authorization/roleAssignments@")
    ]


def role_of(file: Bicep, resource: Resource) -> str:
    key = re.search(r"builtInRoles\.(\w+)\)$", resource.at("properties.roleDefinitionId"))
    assert key
    return ROLES[file.variables["builtInRoles"][key[1]]]


# ---------------------------------------------------------------------------- the files themselves


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_bicep(name: str) -> None:
    assert FILES[name].broken == []


def test_what_is_no_bicep_is_noticed() -> None:
    assert parse("resource storage 'Microsoft.Storage/storageAccounts@2024-01-01' = {").broken
    assert parse("param name string\nvar other = nme").undeclared == {"nme"}


@pytest.mark.parametrize("name", FILES)
def test_every_name_that_is_used_is_declared(name: str) -> None:
    assert FILES[name].undeclared == set()


@pytest.mark.parametrize("name", FILES)
def test_every_parameter_says_what_it_is(name: str) -> None:
    silent = [key for key, parameter in FILES[name].parameters.items() if not parameter.description]
    assert silent == []


@pytest.mark.parametrize("module", MAIN.modules, ids=lambda module: module.symbol)
def test_a_module_gets_the_parameters_that_it_has(module: Resource) -> None:
    parameters = FILES[module.type].parameters
    given = set(module.body["params"])
    required = {key for key, parameter in parameters.items() if parameter.is_required}
    assert given - set(parameters) == set()
    assert required - given == set()


def test_only_outputs_that_modules_have_are_used() -> None:
    modules = {module.symbol: module.type for module in MAIN.modules}
    used = set(re.findall(r"\b(\w+)\.outputs\.(\w+)", MAIN.text))
    assert len(used) > 20
    for symbol, output in used:
        assert output in FILES[modules[symbol]].outputs, f"{symbol}.outputs.{output}"


@pytest.mark.parametrize("name", FILES)
def test_every_module_and_parameter_is_used(name: str) -> None:
    assert set(MODULES) == {module.type for module in MAIN.modules}
    for key in FILES[name].parameters:
        assert len(re.findall(rf"\b{key}\b", FILES[name].text)) > 1, key


def test_loops_run_over_what_is_known_before_anything_is_deployed() -> None:
    # Bicep refuses a loop of modules over outputs of other modules (BCP178).
    for module in MAIN.modules:
        if module.each is not None:
            assert ".outputs." not in str(MAIN.variables[module.each[1]])


def test_storage_account_names_fit() -> None:
    suffix = MAIN.variables["compactSuffix"]
    assert suffix == "${workload}${shortEnvironment}${unique}"
    assert "@maxLength(8)\nparam workload string" in MAIN.text
    longest = 8 + len("prod") + 6
    for key in ("landing", "lake"):
        kind = MAIN.variables["names"][key].removesuffix("${compactSuffix}")
        assert kind.isalpha()
        assert len(kind) + longest <= 24


# ---------------------------------------------------------------------------- parameter files


@pytest.mark.parametrize("name", PARAMETER_FILES)
def test_a_parameter_file_names_parameters_that_exist_and_all_that_must_be_given(name: str) -> None:
    given = json.loads((AZURE / name).read_text())["parameters"]
    assert set(given) - set(MAIN.parameters) == set()
    required = {key for key, parameter in MAIN.parameters.items() if parameter.is_required}
    assert required - set(given) - GIVEN_BY_DEPLOY_SH == set()
    assert not set(given) & GIVEN_BY_DEPLOY_SH


@pytest.mark.parametrize("name", PARAMETER_FILES)
def test_a_parameter_file_gives_values_that_are_allowed(name: str) -> None:
    for key, entry in json.loads((AZURE / name).read_text())["parameters"].items():
        parameter, value = MAIN.parameters[key], entry["value"]
        if parameter.allowed is not None:
            assert value in parameter.allowed, key
        if not parameter.is_required:
            assert isinstance(value, type(parameter.default)), key
        assert not parameter.is_secure, key


def test_the_example_of_access_names_parameters_that_exist() -> None:
    given = json.loads((AZURE / "access.example.json").read_text())["parameters"]
    assert set(given) == {
        "shipperAddressRanges", "shippers", "shipperKeys", "analystGroupIds", "partners",
    }  # fmt: skip
    assert set(given) <= set(MAIN.parameters)


def test_the_example_of_access_lets_nobody_in() -> None:
    given = json.loads((AZURE / "access.example.json").read_text())["parameters"]
    assert [entry["value"] for entry in given.values()] == [[]] * len(given)


@pytest.mark.parametrize("name", PARAMETER_FILES)
def test_who_sends_and_who_reads_stands_in_the_access_file_alone(name: str) -> None:
    access = json.loads((AZURE / "access.example.json").read_text())["parameters"]
    given = json.loads((AZURE / name).read_text())["parameters"]
    assert set(given) & set(access) == set()


def test_an_access_file_is_not_committed_but_for_the_example() -> None:
    ignored = (AZURE.parents[1] / ".gitignore").read_text().splitlines()
    assert ignored.index("access*.json") < ignored.index("!access.example.json")


def runbook() -> str:
    return (AZURE.parents[1] / "docs" / "azure.md").read_text()


def test_the_runbook_names_each_output_by_its_variable() -> None:
    listed = set(re.findall(r"`([A-Z_]+)`", "".join(re.findall(r"^\| `[A-Z].*", runbook(), re.M))))
    for name in MAIN.outputs:
        assert re.sub("(?=[A-Z])", "_", name).upper() in listed, name


def test_what_the_runbook_asks_to_decide_can_be_set() -> None:
    table = runbook().split("| decide | parameter | know |")[1].split("\n\n")[0]
    asked = {
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[2])
    }
    assert len(asked) > 10
    assert asked <= set(MAIN.parameters)


def test_every_variable_of_the_runbook_has_a_value() -> None:
    shell = re.sub(r"```[a-z]+\n.*?```", "", runbook(), flags=re.DOTALL)
    blocks = "".join(re.findall(r"^ *```\n(.*?)^ *```", shell, re.MULTILINE | re.DOTALL))
    used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", blocks))
    given = set(re.findall(r"^\s*(?:export |for )?([A-Z][A-Z_]+)(?:=| in )", blocks, re.MULTILINE))
    given |= {re.sub("(?=[A-Z])", "_", name).upper() for name in MAIN.outputs}
    assert "RESOURCE_GROUP" in used & given
    # The shell's own, and one that the network team knows.
    assert used - given == {"HOME", "OTHER_NETWORK_ID"}


# ---------------------------------------------------------------------------- nothing public


def test_every_service_is_closed_to_the_public() -> None:
    (vault,) = deployed("Microsoft.KeyVault/vaults")
    (database,) = deployed("Microsoft.DBforPostgreSQL/flexibleServers")
    accounts = {name: r for name, r in DEPLOYED if r.symbol == "account"}
    assert vault.at("properties.publicNetworkAccess") == "Disabled"
    assert database.at("properties.network.publicNetworkAccess") == "Disabled"
    assert set(accounts) == {"modules/landing.bicep", "modules/lake.bicep"}
    lake = accounts["modules/lake.bicep"]
    assert lake.at("properties.publicNetworkAccess") == "Disabled"
    assert lake.at("properties.networkAcls.bypass") == "None"
    for kind in ("Microsoft.Storage/storageAccounts", "Microsoft.KeyVault/vaults"):
        for resource in deployed(kind):
            assert resource.at("properties.networkAcls.defaultAction") == "Deny"
    for container in deployed("Microsoft.Storage/storageAccounts/blobServices/containers"):
        assert container.at("properties.publicAccess") == "None"
    for account in deployed("Microsoft.Storage/storageAccounts"):
        assert account.at("properties.allowBlobPublicAccess") is False


def test_landing_admits_trusted_services_at_most_and_no_address() -> None:
    (account,) = (r for r in FILES["modules/landing.bicep"].resources if r.symbol == "account")
    by_choice = "firewallForTrustedServices ? 'Enabled' : 'Disabled'"
    assert account.at("properties.publicNetworkAccess") == by_choice
    assert account.at("properties.networkAcls") == {
        "defaultAction": "Deny", "bypass": "AzureServices", "ipRules": [],
        "virtualNetworkRules": [],
    }  # fmt: skip
    assert MAIN.parameters["firewallForTrustedServices"].default is False
    for name in PARAMETER_FILES:
        given = json.loads((AZURE / name).read_text())["parameters"]
        assert "firewallForTrustedServices" not in given


def test_event_hubs_is_open_only_to_address_ranges_that_somebody_names() -> None:
    by_choice = "empty(shipperAddressRanges) ? 'Disabled' : 'Enabled'"
    (namespace,) = deployed("Microsoft.EventHub/namespaces")
    (rules,) = deployed("Microsoft.EventHub/namespaces/networkRuleSets")
    assert namespace.at("properties.publicNetworkAccess") == by_choice
    assert rules.at("properties.publicNetworkAccess") == by_choice
    assert rules.at("properties.defaultAction") == "Deny"
    assert rules.at("properties.trustedServiceAccessEnabled") is False
    assert MAIN.parameters["shipperAddressRanges"].default == []


def test_apps_have_no_public_address_and_the_ui_asks_who_you_are() -> None:
    (platform,) = deployed("Microsoft.App/managedEnvironments")
    assert platform.at("properties.vnetConfiguration.internal") is True
    ingress = {
        app.symbol: app.at("properties.configuration.ingress")
        for app in deployed("Microsoft.App/containerApps")
    }
    assert ingress["daemon"] is None
    assert ingress["code"]["external"] is False
    assert ingress["web"]["allowInsecure"] is False
    (sign_in,) = deployed("Microsoft.App/containerApps/authConfigs")
    assert sign_in.at("parent") == "web"
    assert sign_in.at("properties.platform.enabled") is True
    assert (
        sign_in.at("properties.globalValidation.unauthenticatedClientAction")
        == "RedirectToLoginPage"
    )


def test_nothing_has_a_public_address_of_its_own() -> None:
    for name, resource in DEPLOYED:
        assert "publicIPAddresses" not in resource.type, name
        assert "firewallRules" not in resource.type, name


def test_a_peering_made_beside_the_deployment_stays() -> None:
    # Azure removes peerings that a list leaves out, and none where there is no list.
    (network,) = deployed("Microsoft.Network/virtualNetworks")
    assert network.at("properties.subnets")
    assert "virtualNetworkPeerings" not in network.body["properties"]


def test_a_new_revision_has_a_machine_beside_the_old_ones() -> None:
    (profile,) = re.findall(
        r"\? \[\] : \[ (\{.*?\}) \]", FILES["modules/platform.bicep"].variables["ownMachines"]
    )
    assert "minimumCount: 1 maximumCount: 2" in profile


def test_there_is_a_private_way_to_everything_that_is_closed() -> None:
    ways = {(e["target"], e["groupId"]) for e in MAIN.variables["endpoints"]}
    assert ways == {
        ("landing", "blob"), ("landing", "queue"), ("lake", "blob"), ("lake", "dfs"),
        ("hub", "namespace"), ("vault", "vault"), ("database", "postgresqlServer"),
    }  # fmt: skip
    assert {target for target, _ in ways} == set(MAIN.variables["targets"])
    for endpoint in MAIN.variables["endpoints"]:
        assert endpoint["zoneName"] == f"zones.{endpoint['groupId']}"
        assert endpoint["groupId"] in MAIN.variables["zones"]


# ---------------------------------------------------------------------------- no keys, only TLS


def test_nothing_but_a_hub_that_shippers_have_keys_of_can_be_opened_with_a_key() -> None:
    for account in deployed("Microsoft.Storage/storageAccounts"):
        assert account.at("properties.allowSharedKeyAccess") is False
    (namespace,) = deployed("Microsoft.EventHub/namespaces")
    assert namespace.at("properties.disableLocalAuth") == "empty(shipperKeys)"
    (workspace,) = deployed("Microsoft.OperationalInsights/workspaces")
    assert workspace.at("properties.features.disableLocalAuth") is True
    (vault,) = deployed("Microsoft.KeyVault/vaults")
    assert vault.at("properties.enableRbacAuthorization") is True
    for name, file in FILES.items():
        assert not re.search(r"listKeys|listCredentials|connectionString", file.text), name


def test_keys_are_off_unless_somebody_names_a_shipper() -> None:
    assert MAIN.parameters["shipperKeys"].default == []
    for module in MAIN.modules:
        if "shipperKeys" in FILES[module.type].parameters:
            assert module.at("params.shipperKeys") == "shipperKeys", module.symbol


def test_a_shippers_key_sends_to_the_hub_and_does_nothing_else() -> None:
    rules = [r for _, r in DEPLOYED if "authorizationrules" in r.type.lower()]
    (rule,) = rules
    assert rule.type.split("@")[0] == "Microsoft.EventHub/namespaces/eventhubs/authorizationRules"
    assert rule.at("parent") == "hub"
    assert rule.each == ("shipper", "shipperKeys")
    assert rule.at("name") == "shipper"
    assert rule.condition is None
    assert rule.at("properties") == {"rights": ["Send"]}


def test_the_one_secret_is_never_a_plain_value() -> None:
    for name, file in FILES.items():
        for key, parameter in file.parameters.items():
            if re.search("password$", key, re.IGNORECASE):
                assert parameter.is_secure, f"{name} {key}"
        for key, output in file.outputs.items():
            assert not re.search(r"password\b", str(output), re.IGNORECASE), f"{name} {key}"
    for app in deployed("Microsoft.App/containerApps"):
        (secret,) = app.at("properties.configuration.secrets")
        assert secret["keyVaultUrl"] == "passwordUri"
        assert "value" not in secret


def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    for account in deployed("Microsoft.Storage/storageAccounts"):
        assert account.at("properties.minimumTlsVersion") == "TLS1_2"
        assert account.at("properties.supportsHttpsTrafficOnly") is True
    (namespace,) = deployed("Microsoft.EventHub/namespaces")
    assert namespace.at("properties.minimumTlsVersion") == "1.2"
    settings = {
        resource.at("name"): resource.at("properties.value")
        for resource in deployed("Microsoft.DBforPostgreSQL/flexibleServers/configurations")
    }
    assert settings == {"require_secure_transport": "on", "ssl_min_protocol_version": "TLSv1.2"}


# ---------------------------------------------------------------------------- who may do what


def test_exactly_the_intended_roles_are_assigned() -> None:
    found = []
    for name, resource in assignments():
        principal = re.sub(
            r"(PrincipalId|Id|\.principalId)$", "", resource.at("properties.principalId")
        )
        kind = resource.at("properties.principalType")
        role = role_of(FILES[name], resource)
        found.append((principal, str(kind), role, str(resource.at("scope"))))
    assert len(found) == len(set(found))
    assert set(found) == INTENDED


def test_scopes_are_what_their_names_say() -> None:
    roles = {r.symbol: r for r in FILES["modules/roles.bicep"].resources if r.existing}
    assert roles["landing"].at("name") == "landingContainerName"
    assert roles["lake"].at("name") == "lakeContainerName"
    assert roles["computeLogs"].at("name") == "computeLogsContainerName"
    assert (
        roles["landingBlobs"].at("parent")
        == roles["landingQueues"].at("parent")
        == "landingAccount"
    )
    assert roles["lakeBlobs"].at("parent") == "lakeAccount"
    assert roles["secret"].type.startswith("Microsoft.KeyVault/vaults/secrets@")
    senders = {r.symbol: r for r in FILES["modules/senders.bicep"].resources if r.existing}
    assert senders["hub"].type.startswith("Microsoft.EventHub/namespaces/eventhubs@")


def test_the_docs_list_the_roles_that_are_assigned() -> None:
    text = (AZURE.parents[1] / "docs" / "azure.md").read_text()
    who = {
        "pipeline": "pipeline", "console": "console", "capture": "Event Hubs",
        "notices": "Event Grid", "shipper": "each shipper", "group": "analysts",
        "partner": "a partner",
    }  # fmt: skip
    where = {
        "landing": "container `landing`", "lake": "container `lake`",
        "computeLogs": "container `compute-logs`", "noticesQueue": "queue `notices`",
        "secret": "the one secret", "registry": "registry", "lakeAccount": "lake account",
        "hub": "the hub",
    }  # fmt: skip
    rows = set(re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|", text, re.MULTILINE))
    listed = {row for row in rows if row[1] in ROLES.values()}
    expected = {(who[p], role, where[scope]) for p, _, role, scope in INTENDED}
    partner = ("a partner", "Storage Blob Data Reader", "container `lake`, one dataset")
    assert listed == expected - {("a partner", "Storage Blob Data Reader", "container `lake`")} | {
        partner
    }
    (rule,) = deployed("Microsoft.EventHub/namespaces/eventhubs/authorizationRules")
    (right,) = rule.at("properties.rights")
    keys = {row for row in rows if row[1].startswith("key ")}
    assert keys == {("each of `shipperKeys`", f"key with `{right}`", where[rule.at("parent")])}


def test_a_partner_reads_one_dataset_and_lists_nothing_else() -> None:
    roles = FILES["modules/roles.bicep"]
    (partner,) = (r for r in roles.resources if r.symbol == "partnerReadsDataset")
    assert partner.at("properties.conditionVersion") == "2.0"
    assert partner.at("properties.condition") == (
        "replace(readOneDataset, 'DATASET', '${streamFolder}/${partner.dataset}')"
    )
    condition = roles.variables["readOneDataset"]
    assert condition.count("(") == condition.count(")")
    for attribute in ("@Resource[{}:path]", "@Request[{}:prefix]"):
        name = attribute.format("Microsoft.Storage/storageAccounts/blobServices/containers/blobs")
        assert f"{name} StringEquals 'DATASET'" in condition
        assert f"{name} StringStartsWith 'DATASET/'" in condition
    assert MAIN.variables["streamName"] == STINGAR.name


def test_no_dataset_is_the_beginning_of_another() -> None:
    # Listing by a name without a slash would show the names of the other's files.
    names = [table.name for table in STINGAR.tables]
    assert not [(a, b) for a in names for b in names if a != b and b.startswith(a)]


# ---------------------------------------------------------------------------- captures


def test_the_date_stands_before_the_partition_in_a_captures_name() -> None:
    default = MAIN.parameters["captureFormat"].default
    CaptureFormat(default)
    assert default.index("{Hour}") < default.index("{PartitionId}") < default.index("{Minute}")
    for name in PARAMETER_FILES:
        assert "captureFormat" not in json.loads((AZURE / name).read_text())["parameters"]


def test_the_hub_the_containers_and_the_docs_say_the_same_format() -> None:
    default = MAIN.parameters["captureFormat"].default
    for symbol in ("hub", "apps"):
        (module,) = (m for m in MAIN.modules if m.symbol == symbol)
        assert module.at("params.captureFormat") == "captureFormat"
    (hub,) = deployed("Microsoft.EventHub/namespaces/eventhubs")
    capture = hub.at("properties.captureDescription")
    assert capture["destination"]["properties"]["archiveNameFormat"] == "captureFormat"
    assert environment("settings")["STINGAR_CAPTURE_FORMAT"] == "captureFormat"
    root = AZURE.parents[1]
    assert f"STINGAR_CAPTURE_FORMAT={default}\n" in (root / "README.md").read_text()
    assert default in (root / "docs" / "azure.md").read_text()


def test_captures_are_written_by_an_identity_and_empty_ones_too() -> None:
    (hub,) = deployed("Microsoft.EventHub/namespaces/eventhubs")
    capture = hub.at("properties.captureDescription")
    assert capture["enabled"] is True
    assert capture["skipEmptyArchives"] is False
    assert capture["destination"]["identity"]["userAssignedIdentity"] == "captureIdentityId"


def test_captures_can_not_be_changed_and_outlive_nothing_too_early() -> None:
    (policy,) = deployed(
        "Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies"
    )
    assert policy.at("properties.immutabilityPeriodSinceCreationInDays") == "immutableDays"
    assert policy.at("properties.allowProtectedAppendWrites") is False
    assert policy.condition == "!immutabilityLocked"
    assert MAIN.parameters["immutabilityLocked"].default is False
    rules = lifecycle("modules/landing.bicep")
    assert rules["captures-end"]["enabled"] == "keepDays > 0"
    delete = rules["captures-end"]["definition"]["actions"]["baseBlob"]["delete"]
    assert delete["daysAfterModificationGreaterThan"] == "max(keepDays, immutableDays + 1)"


def test_nothing_in_the_lake_is_deleted_by_age() -> None:
    # An hour is published again from all of its segments: without old ones events would be lost.
    for name, rule in lifecycle("modules/lake.bicep").items():
        actions = rule["definition"]["actions"]
        prefixes = rule["definition"]["filters"]["prefixMatch"]
        if "delete" in str(actions):
            assert prefixes == ["${computeLogsContainerName}/"], name
        assert set(actions) == {"baseBlob"}, name
        # Blobs in the archive tier can't be read.
        assert "Archive" not in str(actions), name


def lifecycle(name: str) -> dict[str, Any]:
    (policy,) = (r for r in FILES[name].resources if "managementPolicies" in r.type)
    return {rule["name"]: rule for rule in policy.at("properties.policy.rules")}


def environment(variable: str) -> dict[str, Any]:
    entries = FILES["modules/apps.bicep"].variables[variable]
    return {entry["name"]: entry.get("value", entry.get("secretRef")) for entry in entries}


# ---------------------------------------------------------------------------- alerts


def test_every_alert_goes_to_somebody() -> None:
    kinds = ("Microsoft.Insights/scheduledQueryRules", "Microsoft.Insights/metricAlerts")
    alerts = [alert for kind in kinds for alert in deployed(kind)]
    for alert in alerts:
        assert "people.id" in str(alert.at("properties.actions")), alert.symbol
        assert alert.at("properties.enabled") is True
    assert MAIN.parameters["alertEmails"].is_required


def test_a_standstill_is_noticed_by_what_is_not_written() -> None:
    alerts = {
        alert["name"]: alert for alert in FILES["modules/alerts.bicep"].variables["logAlerts"]
    }
    for name, account in (("no-capture", "landing"), ("no-result", "lake")):
        assert (alerts[name]["operator"], alerts[name]["threshold"]) == ("LessThan", 1)
        assert f"${{{account}AccountName}}" in alerts[name]["query"]
        (logs,) = (r for r in FILES[f"modules/{account}.bicep"].resources if r.symbol == "logs")
        assert {"category": "StorageWrite", "enabled": True} in logs.at("properties.logs")
    assert "/ledger/" in Layout(STINGAR.name).ledger(datetime(2026, 5, 19, 17, tzinfo=UTC))


def test_the_docs_say_what_to_do_about_each_alert() -> None:
    alerts = FILES["modules/alerts.bicep"]
    names = {alert["name"] for alert in alerts.variables["logAlerts"]}
    names |= set(re.findall(r"name: '\$\{name\}-([a-z-]+?)(?:-\$\{[\w.]+\})?'", alerts.text))
    assert {"no-capture", "run-failed", "restarts", "storage", "no-events"} <= names
    text = (AZURE.parents[1] / "docs" / "operations.md").read_text()
    for name in names:
        assert f"`{name}`" in text, name


def test_expressions_are_not_taken_for_literals() -> None:
    file = parse("param a string\nvar b = '${a}-x'\nvar c = 'x'")
    assert isinstance(file.variables["b"], Expression)
    assert not isinstance(file.variables["c"], Expression)
