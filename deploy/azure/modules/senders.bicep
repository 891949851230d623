// The right to send events, for each shipper: to the one hub, and nothing else. By its own identity,
// or by a key where it can't have one. Keys are read by hand (docs/azure.md): none leaves a deployment.

@description('Name of the Event Hubs namespace.')
param namespaceName string

@description('Name of the hub.')
param hubName string

@description('Shippers: name, principalId and principalType (ServicePrincipal or Group) of each.')
param shippers array

@description('Names of shippers that send with a key.')
param shipperKeys array

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

// One after the other: Event Hubs refuses two changes of one hub at a time.
@batchSize(1)
resource shipperKeySends 'Microsoft.EventHub/namespaces/eventhubs/authorizationRules@2024-01-01' = [
  for shipper in shipperKeys: {
    parent: hub
    name: shipper
    properties: {
      rights: [
        'Send'
      ]
    }
  }
]
