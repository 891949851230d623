// Notices of new captures: Event Grid puts one message for each into a storage queue. A notice only
// makes the pipeline look sooner; without any, it finds the same captures by listing.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the system topic.')
param name string

@description('Storage account that captures land in, and that holds the queue.')
param landingAccountId string

@description('Container that captures land in.')
param landingContainerName string

@description('Queue that notices go to.')
param queueName string

@description('Identity that notices are delivered with.')
param noticesIdentityId string

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${noticesIdentityId}': {}
    }
  }
  properties: {
    source: landingAccountId
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource subscription 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: 'captures'
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    deliveryWithResourceIdentity: {
      identity: {
        type: 'UserAssigned'
        userAssignedIdentity: noticesIdentityId
      }
      destination: {
        endpointType: 'StorageQueue'
        properties: {
          resourceId: landingAccountId
          queueName: queueName
          queueMessageTimeToLiveInSeconds: 86400
        }
      }
    }
    filter: {
      includedEventTypes: [
        'Microsoft.Storage.BlobCreated'
      ]
      subjectBeginsWith: '/blobServices/default/containers/${landingContainerName}/blobs/'
      subjectEndsWith: '.avro'
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
  }
}
