// The Container Apps environment: inside the virtual network, without a public address.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the environment.')
param name string

@description('Subnet that it runs in.')
param subnetId string

@description('Whether it is spread over zones. It can not be changed later.')
param zoneRedundant bool

@description('Machines of our own for runs, as D4 or E4; Consumption shares machines, up to 4 cores and 8 GiB an app.')
param workloadProfileType string

@description('Log Analytics workspace.')
param workspaceId string

var sharedMachines = [
  {
    name: 'Consumption'
    workloadProfileType: 'Consumption'
  }
]

// Two at most: a new revision starts beside the old one, and has no room on its machine.
var ownMachines = workloadProfileType == 'Consumption' ? [] : [
  {
    name: 'runs'
    workloadProfileType: workloadProfileType
    minimumCount: 1
    maximumCount: 2
  }
]

resource platform 'Microsoft.App/managedEnvironments@2024-03-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    zoneRedundant: zoneRedundant
    vnetConfiguration: {
      infrastructureSubnetId: subnetId
      internal: true
    }
    workloadProfiles: concat(sharedMachines, ownMachines)
    // By diagnostic setting: the other way needs the workspace's shared key.
    appLogsConfiguration: {
      destination: 'azure-monitor'
    }
  }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: platform
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'ContainerAppConsoleLogs'
        enabled: true
      }
      {
        category: 'ContainerAppSystemLogs'
        enabled: true
      }
    ]
  }
}

output id string = platform.id
output domain string = platform.properties.defaultDomain
output staticIp string = platform.properties.staticIp
output runsProfile string = empty(ownMachines) ? 'Consumption' : 'runs'
