// The Event Hubs namespace, and the hub whose events are captured into landing.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the namespace. It becomes part of every event identity: never use a name again.')
param namespaceName string

@description('Name of the hub. It becomes part of every event identity: never use a name again.')
param hubName string

@description('Partitions of the hub. Standard can not change them later.')
@minValue(1)
@maxValue(32)
param partitionCount int

@description('Days for which events wait in the hub: how long landing may be out of reach before events are lost.')
@minValue(1)
@maxValue(7)
param retentionDays int

@description('Throughput units at rest, 1 MB/s or 1,000 events/s in each.')
@minValue(1)
@maxValue(40)
param throughputUnits int

@description('Throughput units that the namespace may grow to by itself.')
@minValue(1)
@maxValue(40)
param maximumThroughputUnits int

@description('How captures are named.')
param captureFormat string

@description('Seconds after which a capture is written, if it is not full before.')
@minValue(60)
@maxValue(900)
param captureSeconds int

@description('Bytes at which a capture is full.')
@minValue(10485760)
@maxValue(524288000)
param captureBytes int

@description('Storage account that captures land in.')
param landingAccountId string

@description('Container that captures land in.')
param landingContainerName string

@description('Identity that captures are written with.')
param captureIdentityId string

@description('Public address ranges of shippers that have no private way in, as 192.0.2.0/24. Empty: the namespace has no public address at all.')
param shipperAddressRanges array

@description('Names of shippers that send with a key. Empty: the namespace takes no keys at all.')
param shipperKeys array

@description('Log Analytics workspace.')
param workspaceId string

// Standard: it has the Kafka endpoint, Capture, private endpoints and a week of retention, from one
// throughput unit on. Premium includes Capture and keeps 90 days, at many times the price of what
// honeypots need; see docs/azure.md.
resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' = {
  name: namespaceName
  location: location
  tags: tags
  sku: {
    name: 'Standard'
    tier: 'Standard'
    capacity: throughputUnits
  }
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${captureIdentityId}': {}
    }
  }
  properties: {
    // Azure knows no switch for one rule: where one shipper has a key, keys of the namespace work too.
    disableLocalAuth: empty(shipperKeys)
    minimumTlsVersion: '1.2'
    publicNetworkAccess: empty(shipperAddressRanges) ? 'Disabled' : 'Enabled'
    isAutoInflateEnabled: maximumThroughputUnits > throughputUnits
    maximumThroughputUnits: maximumThroughputUnits > throughputUnits ? maximumThroughputUnits : 0
    kafkaEnabled: true
  }
}

resource rules 'Microsoft.EventHub/namespaces/networkRuleSets@2024-01-01' = {
  parent: namespace
  name: 'default'
  properties: {
    publicNetworkAccess: empty(shipperAddressRanges) ? 'Disabled' : 'Enabled'
    defaultAction: 'Deny'
    trustedServiceAccessEnabled: false
    ipRules: [
      for addresses in shipperAddressRanges: {
        action: 'Allow'
        ipMask: addresses
      }
    ]
  }
}

resource hub 'Microsoft.EventHub/namespaces/eventhubs@2024-01-01' = {
  parent: namespace
  name: hubName
  properties: {
    partitionCount: partitionCount
    retentionDescription: {
      cleanupPolicy: 'Delete'
      retentionTimeInHours: retentionDays * 24
    }
    captureDescription: {
      enabled: true
      encoding: 'Avro'
      intervalInSeconds: captureSeconds
      sizeLimitInBytes: captureBytes
      // An empty capture is a sign of life: where none lands, Capture is broken, however quiet the
      // honeypots are. It is 508 bytes, and the pipeline knows it.
      skipEmptyArchives: false
      destination: {
        name: 'EventHubArchive.AzureBlockBlob'
        identity: {
          type: 'UserAssigned'
          userAssignedIdentity: captureIdentityId
        }
        properties: {
          storageAccountResourceId: landingAccountId
          blobContainer: landingContainerName
          archiveNameFormat: captureFormat
        }
      }
    }
  }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: namespace
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'ArchiveLogs'
        enabled: true
      }
      {
        category: 'OperationalLogs'
        enabled: true
      }
    ]
  }
}

output namespaceId string = namespace.id
output namespaceName string = namespace.name
output hubName string = hub.name
output hubId string = hub.id
