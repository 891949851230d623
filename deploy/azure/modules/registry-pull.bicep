// The right to pull images, in the resource group of the registry.

@description('Name of the container registry.')
param registryName string

@description('Principal of the code location and the proof.')
param pipelinePrincipalId string

@description('Principal of the daemon and the webserver.')
param consolePrincipalId string

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var builtInRoles = {
  acrPull: '7f951dda-4ed3-4680-a7ca-43fe172d538d'
}

resource registry 'Microsoft.ContainerRegistry/registries@2023-07-01' existing = {
  name: registryName
}

resource pipelinePulls 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: registry
  name: guid(registry.id, pipelinePrincipalId, builtInRoles.acrPull)
  properties: {
    principalId: pipelinePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.acrPull)
    description: 'The code location and the proof pull their image.'
  }
}

resource consolePulls 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: registry
  name: guid(registry.id, consolePrincipalId, builtInRoles.acrPull)
  properties: {
    principalId: consolePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.acrPull)
    description: 'The daemon and the webserver pull their image.'
  }
}
