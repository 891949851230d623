// Who acts: one managed identity for each part that needs different rights. What each may do stands
// in roles.bicep.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the identity of the code location and of its jobs: reads landing, writes the lake.')
param pipelineName string

@description('Name of the identity of the webserver and the daemon: no access to captures or events.')
param consoleName string

@description('Name of the identity with which Event Hubs writes captures.')
param captureName string

@description('Name of the identity with which Event Grid puts notices into the queue.')
param noticesName string

// User-assigned, so that the roles are there before what uses them starts.
resource pipeline 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: pipelineName
  location: location
  tags: tags
}

resource console 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: consoleName
  location: location
  tags: tags
}

resource capture 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: captureName
  location: location
  tags: tags
}

resource notices 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: noticesName
  location: location
  tags: tags
}

output pipeline object = {
  id: pipeline.id
  principalId: pipeline.properties.principalId
  clientId: pipeline.properties.clientId
}

output console object = {
  id: console.id
  principalId: console.properties.principalId
  clientId: console.properties.clientId
}

output capture object = {
  id: capture.id
  principalId: capture.properties.principalId
}

output notices object = {
  id: notices.id
  principalId: notices.properties.principalId
}
