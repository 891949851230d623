// One private endpoint of one service, and its records in the service's private DNS zone.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the private endpoint.')
param name string

@description('Subnet that the endpoint gets its address from.')
param subnetId string

@description('The service that is reached through it.')
param targetId string

@description('Which part of the service: blob, dfs, queue, namespace, vault, postgresqlServer.')
param groupId string

@description('Private DNS zone of that part; it stands in the same resource group.')
param zoneName string

resource zone 'Microsoft.Network/privateDnsZones@2020-06-01' existing = {
  name: zoneName
}

resource endpoint 'Microsoft.Network/privateEndpoints@2023-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    subnet: {
      id: subnetId
    }
    privateLinkServiceConnections: [
      {
        name: groupId
        properties: {
          privateLinkServiceId: targetId
          groupIds: [
            groupId
          ]
        }
      }
    ]
  }
}

resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2023-11-01' = {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: groupId
        properties: {
          privateDnsZoneId: zone.id
        }
      }
    ]
  }
}
