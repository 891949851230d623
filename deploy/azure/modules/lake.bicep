// The storage account that the pipeline writes and analysts read, and Dagster's compute logs.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the storage account.')
param name string

@description('Copies that are kept: Standard_ZRS in three zones of the region, Standard_LRS in one.')
param redundancy string

@description('Container that results go to.')
param containerName string

@description('Container that the output of runs goes to.')
param computeLogsContainerName string

@description('Folder of the stream in the lake.')
param streamFolder string

@description('Days after which what is only read again for late events moves to the cool tier.')
@minValue(30)
param coolAfterDays int

@description('Days for which the output of runs is kept.')
@minValue(1)
param computeLogsDays int

@description('Days for which a removed object can be brought back.')
@minValue(1)
@maxValue(365)
param softDeleteDays int

@description('Log Analytics workspace.')
param workspaceId string

// A hierarchical namespace: Spark reads it by abfss as it is meant to be read, and a folder is one
// thing to list. It excludes versions and a change feed; the pipeline needs neither, for every
// object can be made again from landing.
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
    isHnsEnabled: true
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: 'Disabled'
    networkAcls: {
      defaultAction: 'Deny'
      bypass: 'None'
    }
    encryption: {
      keySource: 'Microsoft.Storage'
      requireInfrastructureEncryption: true
      services: {
        blob: {
          enabled: true
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

resource lake 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobs
  name: containerName
  properties: {
    publicAccess: 'None'
  }
}

resource computeLogs 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobs
  name: computeLogsContainerName
  properties: {
    publicAccess: 'None'
  }
}

// Nothing in the lake is ever deleted by age. A late event publishes its hour again from all of the
// hour's segments, and its day from all partial aggregates: without the old ones, published events
// would be lost. The pipeline removes what no ledger names by itself.
resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2024-01-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'internal-cool'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: [
                'blockBlob'
              ]
              // Not state: the sensors compare it again and again.
              prefixMatch: [
                '${containerName}/${streamFolder}/segments/'
                '${containerName}/${streamFolder}/rollups/'
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
          name: 'compute-logs-end'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: [
                'blockBlob'
              ]
              prefixMatch: [
                '${computeLogsContainerName}/'
              ]
            }
            actions: {
              baseBlob: {
                delete: {
                  daysAfterModificationGreaterThan: computeLogsDays
                }
              }
            }
          }
        }
      ]
    }
  }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: blobs
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    // Writes for the alert that nothing is written any more.
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

output id string = account.id
output name string = account.name
output url string = 'abfs://${containerName}@${account.name}.dfs.${environment().suffixes.storage}'
