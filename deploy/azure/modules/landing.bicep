// The storage account that Event Hubs captures into. Captures are the only source of truth: nothing
// but Event Hubs writes here, and nobody can change or remove a capture before its time.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the storage account.')
param name string

@description('Copies that are kept: Standard_ZRS in three zones of the region, Standard_LRS in one.')
param redundancy string

@description('Container that captures land in.')
param containerName string

@description('Queue for notices of new captures.')
param queueName string

@description('Days for which a capture can be neither changed nor removed. Data of a partner who leaves stays as long.')
@minValue(1)
param immutableDays int

@description('Whether the policy that says so was locked: then it can only be made longer, and not by a deployment.')
param immutabilityLocked bool

@description('Days after which captures are removed; 0 keeps them for ever. What is published stays, but hours can then not be cleaned again, and verify takes their counts from the ledger.')
@minValue(0)
param keepDays int

@description('Days after which captures move to the cool tier, where keeping costs less and reading more.')
@minValue(1)
param coolAfterDays int

@description('Days for which a removed capture can be brought back.')
@minValue(1)
@maxValue(365)
param softDeleteDays int

@description('Whether the public endpoint is up behind a firewall that denies every address, so that trusted Microsoft services pass it; otherwise it is off.')
param firewallForTrustedServices bool

@description('Log Analytics workspace.')
param workspaceId string

// A flat namespace: this is what the pipeline is tested against, captures need no folders with
// rights of their own, and no directory markers stand between them.
resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: redundancy
  }
  properties: {
    accessTier: 'Hot'
    isHnsEnabled: false
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: firewallForTrustedServices ? 'Enabled' : 'Disabled'
    networkAcls: {
      defaultAction: 'Deny'
      // Event Hubs Capture and Event Grid deliver from Microsoft's network, by their identities.
      bypass: 'AzureServices'
      ipRules: []
      virtualNetworkRules: []
    }
    encryption: {
      keySource: 'Microsoft.Storage'
      requireInfrastructureEncryption: true
      services: {
        blob: {
          enabled: true
        }
        queue: {
          enabled: true
          keyType: 'Account'
        }
      }
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: softDeleteDays
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: softDeleteDays
    }
  }
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobs
  name: containerName
  properties: {
    publicAccess: 'None'
  }
}

// Unlocked, so that a mistake can be undone; docs/azure.md says how and when to lock it. A locked one
// takes no deployment, and stays without one.
resource immutability 'Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies@2024-01-01' = if (!immutabilityLocked) {
  parent: container
  name: 'default'
  properties: {
    immutabilityPeriodSinceCreationInDays: immutableDays
    allowProtectedAppendWrites: false
  }
}

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2024-01-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'captures-cool'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: [
                'blockBlob'
              ]
              prefixMatch: [
                '${containerName}/'
              ]
            }
            actions: {
              baseBlob: {
                tierToCool: {
                  daysAfterModificationGreaterThan: coolAfterDays
                }
              }
            }
          }
        }
        {
          name: 'captures-end'
          enabled: keepDays > 0
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: [
                'blockBlob'
              ]
              prefixMatch: [
                '${containerName}/'
              ]
            }
            actions: {
              baseBlob: {
                delete: {
                  // Never before they may be removed.
                  daysAfterModificationGreaterThan: max(keepDays, immutableDays + 1)
                }
              }
            }
          }
        }
      ]
    }
  }
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2024-01-01' = {
  parent: account
  name: 'default'
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2024-01-01' = {
  parent: queues
  name: queueName
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: blobs
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    // Not reads: the sensor lists every few seconds.
    logs: [
      {
        category: 'StorageWrite'
        enabled: true
      }
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}

resource queueLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: queues
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'StorageWrite'
        enabled: true
      }
    ]
  }
}

output id string = account.id
output name string = account.name
output url string = 'abfs://${containerName}@${account.name}.dfs.${environment().suffixes.storage}'
output noticesUrl string = 'https://${account.name}.queue.${environment().suffixes.storage}/${queueName}'
