// The virtual network: a subnet for Container Apps, one for private endpoints, and the private DNS
// zones that make the services' names point to those endpoints.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the virtual network.')
param name string

@description('Address range of the network. It must overlap with no network that it is peered with.')
param addressPrefix string

@description('Part of it for Container Apps, /27 or larger.')
param appsPrefix string

@description('Part of it for private endpoints, /28 or larger.')
param endpointsPrefix string

@description('Private DNS zones to make and link to the network.')
param zoneNames array

resource appsRules 'Microsoft.Network/networkSecurityGroups@2023-11-01' = {
  name: '${name}-apps'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'AllowTheNetwork'
        properties: {
          description: 'The UI, and what the apps of the environment say to each other.'
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: '*'
          sourceAddressPrefix: 'VirtualNetwork'
          sourcePortRange: '*'
          destinationAddressPrefix: 'VirtualNetwork'
          destinationPortRange: '*'
        }
      }
      {
        name: 'AllowTheLoadBalancer'
        properties: {
          description: 'Probes of the environment itself.'
          priority: 110
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: 'AzureLoadBalancer'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '30000-32767'
        }
      }
      {
        name: 'DenyAllElse'
        properties: {
          priority: 4000
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource endpointsRules 'Microsoft.Network/networkSecurityGroups@2023-11-01' = {
  name: '${name}-endpoints'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'AllowServicesFromTheNetwork'
        properties: {
          description: 'HTTPS, PostgreSQL, AMQP and Kafka over TLS.'
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: 'VirtualNetwork'
          sourcePortRange: '*'
          destinationAddressPrefix: 'VirtualNetwork'
          destinationPortRanges: [
            '443'
            '5432'
            '5671'
            '9093'
          ]
        }
      }
      {
        name: 'DenyAllElse'
        properties: {
          priority: 4000
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

// No virtualNetworkPeerings here: a peering that was made beside this deployment then stays. A subnet
// that was does not.
resource network 'Microsoft.Network/virtualNetworks@2023-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        addressPrefix
      ]
    }
    subnets: [
      {
        name: 'apps'
        properties: {
          addressPrefix: appsPrefix
          networkSecurityGroup: {
            id: appsRules.id
          }
          delegations: [
            {
              name: 'container-apps'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: endpointsPrefix
          networkSecurityGroup: {
            id: endpointsRules.id
          }
          // Without this the rules above do not apply to private endpoints.
          privateEndpointNetworkPolicies: 'Enabled'
        }
      }
    ]
  }
}

resource zones 'Microsoft.Network/privateDnsZones@2020-06-01' = [
  for zoneName in zoneNames: {
    name: zoneName
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2020-06-01' = [
  for (zoneName, index) in zoneNames: {
    parent: zones[index]
    name: name
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: network.id
      }
    }
  }
]

output id string = network.id
output appsSubnetId string = '${network.id}/subnets/apps'
output endpointsSubnetId string = '${network.id}/subnets/endpoints'
