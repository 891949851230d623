// Who may do what with captures, results, notices and the secret. The whole list, but for pulling
// images (registry-pull.bicep) and sending events (senders.bicep), which have scopes elsewhere.

@description('Storage account of landing.')
param landingAccountName string

@description('Container of landing.')
param landingContainerName string

@description('Queue with notices of new captures.')
param queueName string

@description('Whether notices are used.')
param withNotices bool

@description('Storage account of the lake.')
param lakeAccountName string

@description('Container of the lake.')
param lakeContainerName string

@description('Container of the output of runs.')
param computeLogsContainerName string

@description('Folder of the stream in the lake.')
param streamFolder string

@description('Key vault.')
param vaultName string

@description('Secret with the database password.')
param secretName string

@description('Principal of the code location and the proof.')
param pipelinePrincipalId string

@description('Principal of the daemon and the webserver.')
param consolePrincipalId string

@description('Principal that Event Hubs writes captures with.')
param capturePrincipalId string

@description('Principal that Event Grid delivers notices with.')
param noticesPrincipalId string

@description('Object ids of the groups whose members read everything that is published.')
param analystGroupIds array

@description('Partners who read one dataset: name, principalId, principalType and dataset (events, or daily/ and a table) of each.')
param partners array

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var builtInRoles = {
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
  storageBlobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  storageBlobDataReader: '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
  storageBlobDelegator: 'db58b8e5-c6ad-4a2a-8342-4190687cbf4a'
  storageQueueDataMessageProcessor: '8a0f0c08-91a1-4084-bc3d-661d67233fed'
  storageQueueDataMessageSender: 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'
}

resource landingAccount 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: landingAccountName
}

resource landingBlobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' existing = {
  parent: landingAccount
  name: 'default'
}

resource landing 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = {
  parent: landingBlobs
  name: landingContainerName
}

resource landingQueues 'Microsoft.Storage/storageAccounts/queueServices@2024-01-01' existing = {
  parent: landingAccount
  name: 'default'
}

resource noticesQueue 'Microsoft.Storage/storageAccounts/queueServices/queues@2024-01-01' existing = {
  parent: landingQueues
  name: queueName
}

resource lakeAccount 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: lakeAccountName
}

resource lakeBlobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' existing = {
  parent: lakeAccount
  name: 'default'
}

resource lake 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = {
  parent: lakeBlobs
  name: lakeContainerName
}

resource computeLogs 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = {
  parent: lakeBlobs
  name: computeLogsContainerName
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = {
  name: vaultName
}

resource secret 'Microsoft.KeyVault/vaults/secrets@2023-07-01' existing = {
  parent: vault
  name: secretName
}

// ---- the pipeline

resource pipelineReadsLanding 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: landing
  name: guid(landing.id, pipelinePrincipalId, builtInRoles.storageBlobDataReader)
  properties: {
    principalId: pipelinePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.storageBlobDataReader)
    description: 'The pipeline reads captures and can not change them.'
  }
}

resource pipelineWritesLake 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: lake
  name: guid(lake.id, pipelinePrincipalId, builtInRoles.storageBlobDataContributor)
  properties: {
    principalId: pipelinePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.storageBlobDataContributor)
    description: 'The pipeline writes results.'
  }
}

resource pipelineWritesComputeLogs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: computeLogs
  name: guid(computeLogs.id, pipelinePrincipalId, builtInRoles.storageBlobDataContributor)
  properties: {
    principalId: pipelinePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.storageBlobDataContributor)
    description: 'Runs write their output.'
  }
}

resource pipelineTakesNotices 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (withNotices) {
  scope: noticesQueue
  name: guid(noticesQueue.id, pipelinePrincipalId, builtInRoles.storageQueueDataMessageProcessor)
  properties: {
    principalId: pipelinePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.storageQueueDataMessageProcessor)
    description: 'The pipeline takes notices of new captures.'
  }
}

resource pipelineReadsSecret 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: secret
  name: guid(secret.id, pipelinePrincipalId, builtInRoles.keyVaultSecretsUser)
  properties: {
    principalId: pipelinePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.keyVaultSecretsUser)
    description: 'Runs record themselves in the database.'
  }
}

// ---- the daemon and the webserver

resource consoleReadsComputeLogs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: computeLogs
  name: guid(computeLogs.id, consolePrincipalId, builtInRoles.storageBlobDataReader)
  properties: {
    principalId: consolePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.storageBlobDataReader)
    description: 'The webserver shows the output of runs.'
  }
}

// Its links to that output are signed with a delegation key, which only the account can give. A key
// grants no more than its principal may do, here: to read that one container.
resource consoleSignsLinks 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: lakeAccount
  name: guid(lakeAccount.id, consolePrincipalId, builtInRoles.storageBlobDelegator)
  properties: {
    principalId: consolePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.storageBlobDelegator)
    description: 'The webserver links to the output of runs.'
  }
}

resource consoleReadsSecret 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: secret
  name: guid(secret.id, consolePrincipalId, builtInRoles.keyVaultSecretsUser)
  properties: {
    principalId: consolePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.keyVaultSecretsUser)
    description: 'The daemon and the webserver read and write the database.'
  }
}

// ---- Azure's own services

resource captureWritesLanding 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: landing
  name: guid(landing.id, capturePrincipalId, builtInRoles.storageBlobDataContributor)
  properties: {
    principalId: capturePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.storageBlobDataContributor)
    description: 'Event Hubs writes captures.'
  }
}

resource noticesAreQueued 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (withNotices) {
  scope: noticesQueue
  name: guid(noticesQueue.id, noticesPrincipalId, builtInRoles.storageQueueDataMessageSender)
  properties: {
    principalId: noticesPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.storageQueueDataMessageSender)
    description: 'Event Grid puts notices of new captures into the queue.'
  }
}

// ---- people

resource analystsReadLake 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for groupId in analystGroupIds: {
    scope: lake
    name: guid(lake.id, groupId, builtInRoles.storageBlobDataReader)
    properties: {
      principalId: groupId
      principalType: 'Group'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.storageBlobDataReader)
      description: 'Analysts read everything in the lake.'
    }
  }
]

// A condition and not access control lists: it holds for objects to come without anybody setting
// anything, it is one line to review and to remove, and it can not be widened by who writes files.
// Reading needs the folder itself or what is below it, listing a prefix below it.
var readOneDataset = '''
(
 (
  !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})
 )
 OR
 (
  @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringEquals 'DATASET'
  OR
  @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'DATASET/'
 )
)
AND
(
 (
  !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})
 )
 OR
 (
  @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringEquals 'DATASET'
  OR
  @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'DATASET/'
 )
)
'''

resource partnerReadsDataset 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for partner in partners: {
    scope: lake
    name: guid(lake.id, partner.principalId, partner.dataset, builtInRoles.storageBlobDataReader)
    properties: {
      principalId: partner.principalId
      principalType: partner.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtInRoles.storageBlobDataReader)
      conditionVersion: '2.0'
      condition: replace(readOneDataset, 'DATASET', '${streamFolder}/${partner.dataset}')
      description: 'Partner: ${partner.name}'
    }
  }
]
