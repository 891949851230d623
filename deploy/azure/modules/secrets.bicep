// The vault, and the one secret there is: the password of Dagster's database.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the vault.')
param name string

@description('Name of the secret with the database password.')
param secretName string

@description('The database password. Empty: what the vault holds stays.')
@secure()
param databasePassword string

@description('Log Analytics workspace.')
param workspaceId string

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    enablePurgeProtection: true
    softDeleteRetentionInDays: 90
    publicNetworkAccess: 'Disabled'
    networkAcls: {
      defaultAction: 'Deny'
      // This deployment writes the secret through Azure's management, a trusted service.
      bypass: 'AzureServices'
    }
  }
}

resource password 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = if (!empty(databasePassword)) {
  parent: vault
  name: secretName
  tags: tags
  properties: {
    value: databasePassword
    contentType: 'text/plain'
    attributes: {
      enabled: true
    }
  }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vault
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'AuditEvent'
        enabled: true
      }
    ]
  }
}

output id string = vault.id
output name string = vault.name
// Without a version: a rotated password is picked up.
output passwordUri string = '${vault.properties.vaultUri}secrets/${secretName}'
