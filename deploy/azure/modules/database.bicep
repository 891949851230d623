// PostgreSQL for Dagster's runs, event log and schedules. No event and nothing that could not be
// made again is in it: the lake is the truth.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the server.')
param name string

@description('Compute size, as Standard_B1ms or Standard_D2ds_v5.')
param skuName string

@description('Tier that the size belongs to.')
@allowed([
  'Burstable'
  'GeneralPurpose'
])
param skuTier string

@description('Storage in GB; it grows by itself.')
@minValue(32)
param storageGb int

@description('Whether a second server stands by in another zone. Burstable can not.')
param highAvailability bool

@description('Days for which the database can be put back to a moment.')
@minValue(7)
@maxValue(35)
param backupDays int

@description('User that Dagster signs in as.')
param userName string

@description('Its password. Empty: the one that is set stays. Needed the first time.')
@secure()
param password string

@description('Name of the database.')
param databaseName string

@description('Log Analytics workspace.')
param workspaceId string

// A password and not a Microsoft Entra token: tokens end after about an hour, and Dagster keeps the
// one address that it read when it started.
resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2024-08-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: skuName
    tier: skuTier
  }
  properties: {
    version: '16'
    administratorLogin: userName
    administratorLoginPassword: empty(password) ? null : password
    authConfig: {
      activeDirectoryAuth: 'Disabled'
      passwordAuth: 'Enabled'
    }
    storage: {
      storageSizeGB: storageGb
      autoGrow: 'Enabled'
    }
    backup: {
      backupRetentionDays: backupDays
      geoRedundantBackup: 'Disabled'
    }
    highAvailability: {
      mode: highAvailability ? 'ZoneRedundant' : 'Disabled'
    }
    network: {
      publicNetworkAccess: 'Disabled'
    }
  }
}

resource database 'Microsoft.DBforPostgreSQL/flexibleServers/databases@2024-08-01' = {
  parent: server
  name: databaseName
  properties: {
    charset: 'UTF8'
    collation: 'en_US.utf8'
  }
}

resource onlyTls 'Microsoft.DBforPostgreSQL/flexibleServers/configurations@2024-08-01' = {
  parent: server
  name: 'require_secure_transport'
  properties: {
    value: 'on'
    source: 'user-override'
  }
  dependsOn: [
    database
  ]
}

resource tlsVersion 'Microsoft.DBforPostgreSQL/flexibleServers/configurations@2024-08-01' = {
  parent: server
  name: 'ssl_min_protocol_version'
  properties: {
    value: 'TLSv1.2'
    source: 'user-override'
  }
  // The server takes one change at a time.
  dependsOn: [
    onlyTls
  ]
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: server
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'PostgreSQLLogs'
        enabled: true
      }
    ]
  }
}

output id string = server.id
output name string = server.name
output host string = server.properties.fullyQualifiedDomainName
