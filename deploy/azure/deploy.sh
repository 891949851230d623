#!/usr/bin/env bash
# Builds the image, previews a deployment, or makes it. Used by both pipelines and by hand.
#
#   bash deploy/azure/deploy.sh build TAG
#   bash deploy/azure/deploy.sh what-if TAG
#   bash deploy/azure/deploy.sh create TAG
#
# Reads ENVIRONMENT (test or production), RESOURCE_GROUP, REGISTRY, REGISTRY_RESOURCE_GROUP,
# SIGN_IN_CLIENT_ID, ALERT_EMAILS (a JSON array) and, the first time and to rotate it,
# DATABASE_PASSWORD; ACCESS may name a file like access.example.json. By hand, sign in first with
# az login.
set -euo pipefail
cd "$(dirname "$0")/../.."

usage() {
  echo "deploy.sh: say build, what-if or create, and the image's tag" >&2
  exit 2
}

needed() {
  for name in "$@"; do
    if [ -z "${!name:-}" ]; then
      echo "deploy.sh: $name is not set; docs/azure.md says what it is" >&2
      exit 2
    fi
  done
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

[ $# -eq 2 ] || usage
command=$1 tag=$2
case $command in build | what-if | create) ;; *) usage ;; esac
needed REGISTRY
sign_in

if [ "$command" = build ]; then
  az acr build --registry "$REGISTRY" --image "stingar-dagster:$tag" \
    --file deploy/azure/Dockerfile --output none .
  exit 0
fi

needed ENVIRONMENT RESOURCE_GROUP REGISTRY_RESOURCE_GROUP SIGN_IN_CLIENT_ID ALERT_EMAILS
# By digest: what was built is what runs, whatever happens to the tag.
digest=$(az acr repository show --name "$REGISTRY" --image "stingar-dagster:$tag" \
  --query digest --output tsv)
parameters=(
  "@deploy/azure/$ENVIRONMENT.parameters.json"
  "image=stingar-dagster@$digest"
  "registryName=$REGISTRY"
  "registryResourceGroup=$REGISTRY_RESOURCE_GROUP"
  "signInClientId=$SIGN_IN_CLIENT_ID"
  "alertEmails=$ALERT_EMAILS"
)
if [ -n "${DATABASE_PASSWORD:-}" ]; then
  parameters+=("databasePassword=$DATABASE_PASSWORD")
fi
# Who sends and who reads, by object id: kept apart from the files, and from other people's eyes.
if [ -n "${ACCESS:-}" ] && [ -s "$ACCESS" ]; then
  parameters+=("@$ACCESS")
fi
az deployment group "$command" --name "stingar-$ENVIRONMENT" --resource-group "$RESOURCE_GROUP" \
  --template-file deploy/azure/main.bicep --parameters "${parameters[@]}"
