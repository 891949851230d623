// Log Analytics: where containers, Event Hubs, storage, the vault and the database log to.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the workspace.')
param name string

@description('Days for which logs are kept.')
@minValue(30)
@maxValue(730)
param keepDays int

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: keepDays
    features: {
      // Readers of the workspace see what they may see of the resource, and no key is needed.
      enableLogAccessUsingOnlyResourcePermissions: true
      disableLocalAuth: true
    }
  }
}

output id string = workspace.id
