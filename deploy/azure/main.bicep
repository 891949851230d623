// Everything that stingar-dagster needs in one resource group: a hub whose events are captured, the
// lake, what runs the pipeline, who may do what, and what wakes somebody up.
//
// docs/azure.md is the runbook. Each idea is one module; this file only puts them together.

targetScope = 'resourceGroup'

// ---- this environment

@description('Which environment this is.')
@allowed([
  'test'
  'production'
])
param environmentName string

@description('Azure region.')
param location string = resourceGroup().location

@description('Short name that every resource name holds: lower-case letters and digits.')
@minLength(3)
@maxLength(8)
param workload string = 'stingar'

@description('Tags of every resource, besides workload and environment.')
param extraTags object = {}

// ---- what runs

@description('Repository and digest of the image in the registry, as stingar-dagster@sha256:...')
param image string

@description('Name of the container registry that the image was pushed to. It is not part of this deployment: both environments use it.')
param registryName string

@description('Resource group of the container registry.')
param registryResourceGroup string

@description('Application (client) id of the app registration that people sign in to Dagster with.')
param signInClientId string

@description('Machines for runs: Consumption, or machines of our own as D4 or E4.')
param workloadProfileType string = 'Consumption'

@description('Cores of the container that does the runs.')
param codeCpu string = '2.0'

@description('Memory of the container that does the runs. On Consumption twice the cores, in Gi. Four runs at once need about 1 GB each, times processes.')
param codeMemory string = '4Gi'

@description('Processes that share one run (STINGAR_PROCESSES).')
@minValue(1)
@maxValue(64)
param processes int = 1

@description('The first hour that exists as a partition, as 2026-01-01 (STINGAR_START). Events stamped before it get their time of arrival.')
param start string

@description('Whether the apps and the database are spread over zones of the region. For storage, storageRedundancy says it.')
param zoneRedundant bool = false

// ---- events in

@description('Name of the hub. It becomes part of every event identity: never use a name again.')
param hubName string = 'stingar'

@description('Partitions of the hub. They can not be changed later.')
@minValue(1)
@maxValue(32)
param partitionCount int = 4

@description('Days for which events wait in the hub: how long landing may be out of reach before events are lost.')
@minValue(1)
@maxValue(7)
param hubRetentionDays int = 7

@description('Throughput units at rest: 1 MB/s or 1,000 events/s in each.')
@minValue(1)
@maxValue(40)
param throughputUnits int = 1

@description('Throughput units that the namespace may grow to by itself. It does not shrink by itself.')
@minValue(1)
@maxValue(40)
param maximumThroughputUnits int = 2

@description('How captures are named (STINGAR_CAPTURE_FORMAT). The date stands before the partition, so that an hour is one cheap listing.')
param captureFormat string = '{Namespace}/{EventHub}/{Year}/{Month}/{Day}/{Hour}/{PartitionId}/{Minute}/{Second}'

@description('Seconds after which a capture is written, if it is not full before.')
@minValue(60)
@maxValue(900)
param captureSeconds int = 300

@description('Bytes at which a capture is full.')
@minValue(10485760)
@maxValue(524288000)
param captureBytes int = 104857600

@description('Whether Event Grid tells of new captures through a queue (STINGAR_NOTICES).')
param withNotices bool = false

@description('Public address ranges of shippers that have no private way in, as 192.0.2.0/24. Empty, as the example of an access file has it: the namespace has no public address at all.')
param shipperAddressRanges array = []

@description('Shippers: name, principalId and principalType (ServicePrincipal or Group) of each.')
param shippers array = []

@description('Names of shippers that can not get Entra tokens: each gets a key that only sends, and the namespace takes keys. Letters, digits, points, hyphens and underscores. Empty, as the example of an access file has it: no key works.')
param shipperKeys array = []

// ---- data

@description('Folder of the lake container that results go to; empty: its root. Another one is for making everything again beside what is there.')
param lakeFolder string = ''

@description('Copies of landing and lake: Standard_ZRS in three zones of the region, Standard_LRS in one.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GZRS'
])
param storageRedundancy string = 'Standard_ZRS'

@description('Whether the public endpoint of landing is up behind a firewall that denies every address, so that Event Hubs and Event Grid pass it as trusted services. Only if captures do not land otherwise: docs/azure.md, step 8.')
param firewallForTrustedServices bool = false

@description('Days for which a capture can be neither changed nor removed.')
@minValue(1)
param immutableDays int

@description('Whether the immutability policy of landing was locked. Azure refuses to deploy a locked one, so it is then left as it is.')
param immutabilityLocked bool = false

@description('Days after which captures are removed; 0 keeps them for ever.')
@minValue(0)
param keepCapturesDays int = 0

@description('Days after which captures, and what is only read again for late events, move to the cool tier.')
@minValue(30)
param coolAfterDays int = 90

@description('Days for which a removed object can be brought back.')
@minValue(1)
@maxValue(365)
param softDeleteDays int = 14

@description('Days for which the output of runs is kept.')
@minValue(1)
param computeLogsDays int = 60

@description('Object ids of the groups whose members read everything that is published.')
param analystGroupIds array = []

@description('Partners who read one dataset: name, principalId, principalType and dataset (events, or daily/ and a table) of each.')
param partners array = []

// ---- Dagster's database

@description('Password of the database user. Given the first time and to rotate it; empty otherwise.')
@secure()
param databasePassword string = ''

@description('Size of the database server.')
param databaseSku string = 'Standard_B1ms'

@description('Tier of that size.')
@allowed([
  'Burstable'
  'GeneralPurpose'
])
param databaseTier string = 'Burstable'

@description('Storage of the database in GB.')
@minValue(32)
param databaseStorageGb int = 32

// ---- network, logs and alerts

@description('Address range of the virtual network. It must overlap with no network that it is peered with.')
param addressPrefix string = '10.90.0.0/24'

@description('Part of it for Container Apps, /27 or larger.')
param appsPrefix string = '10.90.0.0/26'

@description('Part of it for private endpoints, /28 or larger.')
param endpointsPrefix string = '10.90.0.64/26'

@description('Days for which logs are kept.')
@minValue(30)
@maxValue(730)
param logDays int = 30

@description('Mail addresses that alerts go to.')
param alertEmails array

@description('Minutes without any capture after which somebody is told.')
@allowed([
  15
  30
  45
  60
  120
])
param noCaptureMinutes int = 30

@description('How long no event at all may come in before somebody is told.')
@allowed([
  'PT1H'
  'PT6H'
  'PT12H'
  'P1D'
])
param noEventsFor string = 'PT6H'

// ---- names

// One rule for all: the kind, then what tells this environment from any other in Azure. Storage
// accounts take letters and digits only, and 24 of them.
var shortEnvironment = environmentName == 'production' ? 'prod' : environmentName
var unique = take(uniqueString(resourceGroup().id), 6)
var suffix = '${workload}-${shortEnvironment}-${unique}'
var compactSuffix = '${workload}${shortEnvironment}${unique}'

var tags = union(extraTags, {
  workload: workload
  environment: environmentName
})

var names = {
  network: 'vnet-${suffix}'
  workspace: 'log-${suffix}'
  landing: 'stland${compactSuffix}'
  lake: 'stlake${compactSuffix}'
  namespace: 'evhns-${suffix}'
  topic: 'evgt-${suffix}'
  vault: 'kv-${suffix}'
  database: 'psql-${suffix}'
  platform: 'cae-${suffix}'
  code: 'ca-code-${suffix}'
  daemon: 'ca-daemon-${suffix}'
  web: 'ca-web-${suffix}'
  proof: 'caj-proof-${suffix}'
  pipelineIdentity: 'id-pipeline-${suffix}'
  consoleIdentity: 'id-console-${suffix}'
  captureIdentity: 'id-capture-${suffix}'
  noticesIdentity: 'id-notices-${suffix}'
  alerts: 'ag-${suffix}'
}

var landingContainer = 'landing'
var lakeContainer = 'lake'
var computeLogsContainer = 'compute-logs'
var queueName = 'notices'
// The folder that the stream has in the lake: its name in stingar_dagster/streams.
var streamName = 'stingar'
var streamFolder = empty(lakeFolder) ? streamName : '${lakeFolder}/${streamName}'
var databaseName = 'dagster'
var databaseUser = 'dagster'
var secretName = 'database-password'

var zones = {
  blob: 'privatelink.blob.${environment().suffixes.storage}'
  dfs: 'privatelink.dfs.${environment().suffixes.storage}'
  queue: 'privatelink.queue.${environment().suffixes.storage}'
  namespace: 'privatelink.servicebus.windows.net'
  vault: 'privatelink.vaultcore.azure.net'
  postgresqlServer: 'privatelink.postgres.database.azure.com'
}

// ---- network, logs, identities

module network 'modules/network.bicep' = {
  name: 'network'
  params: {
    location: location
    tags: tags
    name: names.network
    addressPrefix: addressPrefix
    appsPrefix: appsPrefix
    endpointsPrefix: endpointsPrefix
    zoneNames: [
      zones.blob
      zones.dfs
      zones.queue
      zones.namespace
      zones.vault
      zones.postgresqlServer
    ]
  }
}

module logs 'modules/logs.bicep' = {
  name: 'logs'
  params: {
    location: location
    tags: tags
    name: names.workspace
    keepDays: logDays
  }
}

module identities 'modules/identities.bicep' = {
  name: 'identities'
  params: {
    location: location
    tags: tags
    pipelineName: names.pipelineIdentity
    consoleName: names.consoleIdentity
    captureName: names.captureIdentity
    noticesName: names.noticesIdentity
  }
}

// ---- data

module landing 'modules/landing.bicep' = {
  name: 'landing'
  params: {
    location: location
    tags: tags
    name: names.landing
    redundancy: storageRedundancy
    containerName: landingContainer
    queueName: queueName
    firewallForTrustedServices: firewallForTrustedServices
    immutableDays: immutableDays
    immutabilityLocked: immutabilityLocked
    keepDays: keepCapturesDays
    coolAfterDays: coolAfterDays
    softDeleteDays: softDeleteDays
    workspaceId: logs.outputs.id
  }
}

module lake 'modules/lake.bicep' = {
  name: 'lake'
  params: {
    location: location
    tags: tags
    name: names.lake
    redundancy: storageRedundancy
    containerName: lakeContainer
    computeLogsContainerName: computeLogsContainer
    streamFolder: streamFolder
    coolAfterDays: coolAfterDays
    computeLogsDays: computeLogsDays
    softDeleteDays: softDeleteDays
    workspaceId: logs.outputs.id
  }
}

module secrets 'modules/secrets.bicep' = {
  name: 'secrets'
  params: {
    location: location
    tags: tags
    name: names.vault
    secretName: secretName
    databasePassword: databasePassword
    workspaceId: logs.outputs.id
  }
}

module database 'modules/database.bicep' = {
  name: 'database'
  params: {
    location: location
    tags: tags
    name: names.database
    skuName: databaseSku
    skuTier: databaseTier
    storageGb: databaseStorageGb
    highAvailability: zoneRedundant && databaseTier != 'Burstable'
    backupDays: 14
    userName: databaseUser
    password: databasePassword
    databaseName: databaseName
    workspaceId: logs.outputs.id
  }
}

// ---- who may do what

module roles 'modules/roles.bicep' = {
  name: 'roles'
  params: {
    landingAccountName: landing.outputs.name
    landingContainerName: landingContainer
    queueName: queueName
    withNotices: withNotices
    lakeAccountName: lake.outputs.name
    lakeContainerName: lakeContainer
    computeLogsContainerName: computeLogsContainer
    streamFolder: streamFolder
    vaultName: secrets.outputs.name
    secretName: secretName
    pipelinePrincipalId: identities.outputs.pipeline.principalId
    consolePrincipalId: identities.outputs.console.principalId
    capturePrincipalId: identities.outputs.capture.principalId
    noticesPrincipalId: identities.outputs.notices.principalId
    analystGroupIds: analystGroupIds
    partners: partners
  }
}

module registryPull 'modules/registry-pull.bicep' = {
  name: 'registry-pull-${environmentName}'
  scope: resourceGroup(registryResourceGroup)
  params: {
    registryName: registryName
    pipelinePrincipalId: identities.outputs.pipeline.principalId
    consolePrincipalId: identities.outputs.console.principalId
  }
}

// ---- events in

module hub 'modules/hub.bicep' = {
  name: 'hub'
  params: {
    location: location
    tags: tags
    namespaceName: names.namespace
    hubName: hubName
    partitionCount: partitionCount
    retentionDays: hubRetentionDays
    throughputUnits: throughputUnits
    maximumThroughputUnits: maximumThroughputUnits
    captureFormat: captureFormat
    captureSeconds: captureSeconds
    captureBytes: captureBytes
    landingAccountId: landing.outputs.id
    landingContainerName: landingContainer
    captureIdentityId: identities.outputs.capture.id
    shipperAddressRanges: shipperAddressRanges
    shipperKeys: shipperKeys
    workspaceId: logs.outputs.id
  }
  // Capture must be able to write before it starts.
  dependsOn: [
    roles
  ]
}

module senders 'modules/senders.bicep' = {
  name: 'senders'
  params: {
    namespaceName: hub.outputs.namespaceName
    hubName: hub.outputs.hubName
    shippers: shippers
    shipperKeys: shipperKeys
  }
}

module notices 'modules/notices.bicep' = if (withNotices) {
  name: 'notices'
  params: {
    location: location
    tags: tags
    name: names.topic
    landingAccountId: landing.outputs.id
    landingContainerName: landingContainer
    queueName: queueName
    noticesIdentityId: identities.outputs.notices.id
  }
  dependsOn: [
    roles
  ]
}

// ---- private endpoints

var targets = {
  landing: landing.outputs.id
  lake: lake.outputs.id
  hub: hub.outputs.namespaceId
  vault: secrets.outputs.id
  database: database.outputs.id
}

var endpoints = [
  { name: 'landing-blob', target: 'landing', groupId: 'blob', zoneName: zones.blob }
  { name: 'landing-queue', target: 'landing', groupId: 'queue', zoneName: zones.queue }
  { name: 'lake-blob', target: 'lake', groupId: 'blob', zoneName: zones.blob }
  { name: 'lake-dfs', target: 'lake', groupId: 'dfs', zoneName: zones.dfs }
  { name: 'hub', target: 'hub', groupId: 'namespace', zoneName: zones.namespace }
  { name: 'vault', target: 'vault', groupId: 'vault', zoneName: zones.vault }
  { name: 'database', target: 'database', groupId: 'postgresqlServer', zoneName: zones.postgresqlServer }
]

module privateEndpoints 'modules/private-endpoint.bicep' = [
  for endpoint in endpoints: {
    name: 'endpoint-${endpoint.name}'
    params: {
      location: location
      tags: tags
      name: 'pe-${endpoint.name}-${names.network}'
      subnetId: network.outputs.endpointsSubnetId
      targetId: targets[endpoint.target]
      groupId: endpoint.groupId
      zoneName: endpoint.zoneName
    }
  }
]

// ---- what runs

module platform 'modules/platform.bicep' = {
  name: 'platform'
  params: {
    location: location
    tags: tags
    name: names.platform
    subnetId: network.outputs.appsSubnetId
    zoneRedundant: zoneRedundant
    workloadProfileType: workloadProfileType
    workspaceId: logs.outputs.id
  }
}

module platformDns 'modules/platform-dns.bicep' = {
  name: 'platform-dns'
  params: {
    tags: tags
    domain: platform.outputs.domain
    staticIp: platform.outputs.staticIp
    networkId: network.outputs.id
  }
}

module apps 'modules/apps.bicep' = {
  name: 'apps'
  params: {
    location: location
    tags: tags
    codeName: names.code
    daemonName: names.daemon
    webName: names.web
    proofName: names.proof
    platformId: platform.outputs.id
    runsProfile: platform.outputs.runsProfile
    registryServer: '${registryName}${environment().suffixes.acrLoginServer}'
    image: image
    pipelineIdentity: identities.outputs.pipeline
    consoleIdentity: identities.outputs.console
    codeCpu: codeCpu
    codeMemory: codeMemory
    landingUrl: landing.outputs.url
    lakeUrl: empty(lakeFolder) ? lake.outputs.url : '${lake.outputs.url}/${lakeFolder}'
    start: start
    captureFormat: captureFormat
    processes: processes
    noticesUrl: withNotices ? landing.outputs.noticesUrl : ''
    databaseHost: database.outputs.host
    databaseName: databaseName
    databaseUser: databaseUser
    passwordUri: secrets.outputs.passwordUri
    computeLogsAccount: lake.outputs.name
    computeLogsContainer: computeLogsContainer
    signInClientId: signInClientId
  }
  // They start by pulling their image and reading their secret, through the endpoints.
  dependsOn: [
    roles
    registryPull
    privateEndpoints
  ]
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  params: {
    location: location
    tags: tags
    name: names.alerts
    emails: alertEmails
    workspaceId: logs.outputs.id
    landingAccountName: landing.outputs.name
    lakeAccountName: lake.outputs.name
    namespaceId: hub.outputs.namespaceId
    storageAccountIds: [
      landing.outputs.id
      lake.outputs.id
    ]
    apps: [
      { name: 'code', id: apps.outputs.codeId }
      { name: 'daemon', id: apps.outputs.daemonId }
      { name: 'web', id: apps.outputs.webId }
    ]
    proofName: names.proof
    noCaptureMinutes: noCaptureMinutes
    noEventsFor: noEventsFor
  }
}

output webUrl string = apps.outputs.webUrl
output landingUrl string = landing.outputs.url
output lakeUrl string = empty(lakeFolder) ? lake.outputs.url : '${lake.outputs.url}/${lakeFolder}'
output eventHubsHost string = '${hub.outputs.namespaceName}.servicebus.windows.net'
output hubName string = hub.outputs.hubName
output hubId string = hub.outputs.hubId
output landingAccount string = landing.outputs.name
output lakeAccount string = lake.outputs.name
output networkId string = network.outputs.id
output codeApp string = names.code
output daemonApp string = names.daemon
output webApp string = names.web
output proofJob string = names.proof
