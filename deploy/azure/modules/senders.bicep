// The right to send events, for each shipper: to the one hub, and nothing else.

@description('Name of the Event Hubs namespace.')
param namespaceName string

@description('Name of the hub.')
param hubName string

@description('Shippers: name, principalId and principalType (ServicePrincipal or Group) of each.')
param shippers array

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var builtInRoles = {
  azureEventHubsDataSender: '2b629674-e913-4c01-ae53-ef4638d8f975'
}

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource hub 'Microsoft.EventHub/namespaces/eventhubs@2024-01-01' existing = {
  parent: namespace
  name: hubName
}

resource shipperSends 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for shipper in shippers: {
    scope: hub
    name: guid(hub.id, shipper.principalId, builtInRoles.azureEventHubsDataSender)
    properties: {
      principalId: shipper.principalId
      principalType: shipper.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.azureEventHubsDataSender)
      description: 'Shipper: ${shipper.name}'
    }
  }
]
