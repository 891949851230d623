#!/usr/bin/env bash
# Builds the image, previews a deployment, or makes it. Used by both pipelines and by hand.
#
#   bash deploy/azure/deploy.sh build TAG
#   bash deploy/azure/deploy.sh what-if TAG
#   bash deploy/azure/deploy.sh create TAG
#   eval "$(bash deploy/azure/deploy.sh outputs)"    sets WEB_URL, CODE_APP ... in this shell
#
# Reads ENVIRONMENT (test or production), RESOURCE_GROUP, REGISTRY, REGISTRY_RESOURCE_GROUP,
# SIGN_IN_CLIENT_ID, ALERT_EMAILS (a JSON array), ACCESS (a file like access.example.json: who sends
# and who reads) and, the first time and to rotate it, DATABASE_PASSWORD. By hand, sign in first with
# az login.
set -euo pipefail
# ACCESS may be named from where the command was given.
if [ -f "${ACCESS:-}" ]; then
  ACCESS=$(realpath "$ACCESS")
fi
cd "$(dirname "$0")/../.."

refuse() {
  echo "deploy.sh: $1" >&2
  exit 2
}

usage() {
  refuse "say build, what-if or create, and the image's tag; or outputs"
}

needed() {
  for name in "$@"; do
    [ -n "${!name:-}" ] || refuse "$name is not set; docs/azure.md says what it is"
  done
}

# What a deployment is not told is not left as it was: without this file it would close the hub to
# shippers of public ranges, and switch off their keys.
check_access() {
  [ -f "$ACCESS" ] || refuse "ACCESS=$ACCESS: there is no such file; copy deploy/azure/access.example.json"
  python3 - "$ACCESS" <<'PYTHON' || exit 2
import json
import sys

path = sys.argv[1]
try:
    with open(path, encoding="utf-8") as file:
        given = set(json.load(file)["parameters"])
    with open("deploy/azure/access.example.json", encoding="utf-8") as file:
        known = list(json.load(file)["parameters"])
except (ValueError, KeyError, TypeError):
    sys.exit(f"deploy.sh: ACCESS={path} is no JSON like deploy/azure/access.example.json")
for name in known:
    if name not in given:
        sys.exit(f"deploy.sh: ACCESS={path} does not say {name}; if there are none, write an empty list")
for name in sorted(given.difference(known)):
    sys.exit(f"deploy.sh: ACCESS={path} says {name}, which is no list of who sends or reads")
PYTHON
}

# The token of the pipeline is good for some minutes only, so every step signs in for itself.
sign_in() {
  local token=${AZURE_TOKEN:-}
  if [ -n "${ACTIONS_ID_TOKEN_REQUEST_URL:-}" ]; then
    token=$(curl --silent --show-error --fail \
      --header "Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \
      "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=api://AzureADTokenExchange" |
      python3 -c 'import json, sys; print(json.load(sys.stdin)["value"])')
  fi
  if [ -n "$token" ]; then
    needed AZURE_CLIENT_ID AZURE_TENANT_ID AZURE_SUBSCRIPTION_ID
    az login --service-principal --username "$AZURE_CLIENT_ID" --tenant "$AZURE_TENANT_ID" \
      --federated-token "$token" --output none
    az account set --subscription "$AZURE_SUBSCRIPTION_ID"
  fi
}

# The outputs of main.bicep as variables: webUrl becomes WEB_URL.
show_outputs() {
  local outputs
  outputs=$(az deployment group show --name "stingar-$ENVIRONMENT" --resource-group "$RESOURCE_GROUP" \
    --query properties.outputs --output json)
  python3 - "$outputs" <<'PYTHON' || exit 2
import json
import re
import shlex
import sys

outputs = json.loads(sys.argv[1] or "null")
if not outputs:
    sys.exit("deploy.sh: the last deployment has no outputs: it failed, or is under way")
for name, output in outputs.items():
    variable = re.sub("(?=[A-Z])", "_", name).upper()
    print(f"export {variable}={shlex.quote(output['value'])}")
PYTHON
}

command=${1:-}
case $command in
  build | what-if | create) [ $# -eq 2 ] || usage ;;
  outputs) [ $# -eq 1 ] || usage ;;
  *) usage ;;
esac

if [ "$command" = outputs ]; then
  needed ENVIRONMENT RESOURCE_GROUP
  show_outputs
  exit 0
fi

needed REGISTRY
if [ "$command" != build ]; then
  needed ENVIRONMENT RESOURCE_GROUP REGISTRY_RESOURCE_GROUP SIGN_IN_CLIENT_ID ALERT_EMAILS ACCESS
  check_access
fi
tag=$2
sign_in

if [ "$command" = build ]; then
  az acr build --registry "$REGISTRY" --image "stingar-dagster:$tag" \
    --file deploy/azure/Dockerfile --output none .
  exit 0
fi

# By digest: what was built is what runs, whatever happens to the tag.
digest=$(az acr repository show --name "$REGISTRY" --image "stingar-dagster:$tag" \
  --query digest --output tsv)
parameters=(
  "@deploy/azure/$ENVIRONMENT.parameters.json"
  # Who sends and who reads, by object id: kept apart from the files, and from other people's eyes.
  "@$ACCESS"
  "image=stingar-dagster@$digest"
  "registryName=$REGISTRY"
  "registryResourceGroup=$REGISTRY_RESOURCE_GROUP"
  "signInClientId=$SIGN_IN_CLIENT_ID"
  "alertEmails=$ALERT_EMAILS"
)
if [ -n "${DATABASE_PASSWORD:-}" ]; then
  parameters+=("databasePassword=$DATABASE_PASSWORD")
fi
az deployment group "$command" --name "stingar-$ENVIRONMENT" --resource-group "$RESOURCE_GROUP" \
  --template-file deploy/azure/main.bicep --parameters "${parameters[@]}"
