// What wakes somebody up, and whom. docs/operations.md says what to do about each.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the action group, and start of the names of the alerts.')
param name string

@description('Mail addresses that alerts go to.')
param emails array

@description('Log Analytics workspace.')
param workspaceId string

@description('Name of the landing account, as it stands in logs.')
param landingAccountName string

@description('Name of the lake account, as it stands in logs.')
param lakeAccountName string

@description('Event Hubs namespace.')
param namespaceId string

@description('Storage accounts.')
param storageAccountIds array

@description('The apps, by what they are called in alerts: name and id of each.')
param apps array

@description('Name of the job that proves what landed.')
param proofName string

@description('Minutes without any capture after which Capture counts as broken: some windows, for every partition writes one each window.')
@allowed([
  15
  30
  45
  60
  120
])
param noCaptureMinutes int

@description('How long no event at all may come in, as PT1H or PT6H, before the shippers count as broken.')
@allowed([
  'PT1H'
  'PT6H'
  'PT12H'
  'P1D'
])
param noEventsFor string

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: name
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'stingar'
    emailReceivers: [
      for email in emails: {
        name: email
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

// ---- by what the logs say

var logAlerts = [
  {
    name: 'no-capture'
    severity: 1
    minutes: noCaptureMinutes
    operator: 'LessThan'
    threshold: 1
    description: 'No capture landed for ${noCaptureMinutes} minutes. Empty ones land too, so Event Hubs Capture can not write.'
    query: 'StorageBlobLogs | where AccountName == "${landingAccountName}" and Category == "StorageWrite" and StatusCode < 400 and Uri has ".avro"'
  }
  {
    // Every capture, also an empty one, becomes a line of a ledger. So this tells whatever stopped:
    // a sensor that is refused, a daemon that hangs, runs that never end.
    name: 'no-result'
    severity: 1
    minutes: 60
    operator: 'LessThan'
    threshold: 1
    description: 'No ledger was written for 60 minutes: the pipeline stands still, or no capture lands.'
    query: 'StorageBlobLogs | where AccountName == "${lakeAccountName}" and Category == "StorageWrite" and StatusCode < 400 and Uri contains "/ledger/"'
  }
  {
    name: 'run-failed'
    severity: 2
    minutes: 15
    operator: 'GreaterThan'
    threshold: 0
    description: 'A run failed after its own tries: a partition is red.'
    query: 'ContainerAppConsoleLogs | where ContainerName == "code" and Log contains " - RUN_FAILURE - "'
  }
  {
    name: 'sensor-failed'
    severity: 2
    minutes: 15
    operator: 'GreaterThan'
    threshold: 0
    description: 'The daemon reports an error of its own: a sensor, the queue, the database.'
    query: 'ContainerAppConsoleLogs | where ContainerName == "daemon" and Log contains " - ERROR - "'
  }
  {
    name: 'proof-failed'
    severity: 1
    minutes: 60
    operator: 'GreaterThan'
    threshold: 0
    description: 'The nightly proof did not hold, or could not be tried.'
    query: 'ContainerAppSystemLogs | where JobName == "${proofName}" and Reason in ("BackoffLimitExceeded", "DeadlineExceeded", "Failed")'
  }
]

resource logAlert 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for alert in logAlerts: {
    name: '${name}-${alert.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${name}-${alert.name}'
      description: alert.description
      enabled: true
      severity: alert.severity
      scopes: [
        workspaceId
      ]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT${alert.minutes}M'
      autoMitigate: true
      // Tables come into being with their first line.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: alert.query
            timeAggregation: 'Count'
            operator: alert.operator
            threshold: alert.threshold
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: [
          people.id
        ]
      }
    }
  }
]

// ---- by metrics

resource noEvents 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${name}-no-events'
  location: 'global'
  tags: tags
  properties: {
    description: 'Not one event came in: shippers, their network or their rights.'
    enabled: true
    severity: 2
    scopes: [
      namespaceId
    ]
    evaluationFrequency: 'PT15M'
    windowSize: noEventsFor
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'incoming'
          metricNamespace: 'Microsoft.EventHub/namespaces'
          metricName: 'IncomingMessages'
          timeAggregation: 'Total'
          operator: 'LessThan'
          threshold: 1
        }
      ]
    }
    actions: [
      {
        actionGroupId: people.id
      }
    ]
  }
}

resource throttled 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${name}-throttled'
  location: 'global'
  tags: tags
  properties: {
    description: 'Event Hubs turns events away: more throughput units are needed.'
    enabled: true
    severity: 2
    scopes: [
      namespaceId
    ]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'throttled'
          metricNamespace: 'Microsoft.EventHub/namespaces'
          metricName: 'ThrottledRequests'
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: 0
        }
      ]
    }
    actions: [
      {
        actionGroupId: people.id
      }
    ]
  }
}

resource storageAvailability 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for (accountId, index) in storageAccountIds: {
    name: '${name}-storage-${index}'
    location: 'global'
    tags: tags
    properties: {
      description: 'A storage account does not answer as it should. Steps wait and are tried again.'
      enabled: true
      severity: 1
      scopes: [
        accountId
      ]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            criterionType: 'StaticThresholdCriterion'
            name: 'availability'
            metricNamespace: 'Microsoft.Storage/storageAccounts'
            metricName: 'Availability'
            timeAggregation: 'Average'
            operator: 'LessThan'
            threshold: 99
          }
        ]
      }
      actions: [
        {
          actionGroupId: people.id
        }
      ]
    }
  }
]

resource restarts 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for app in apps: {
    name: '${name}-restarts-${app.name}'
    location: 'global'
    tags: tags
    properties: {
      description: 'The container ${app.name} was started again more than twice: out of memory, or it can not start.'
      enabled: true
      severity: 2
      scopes: [
        app.id
      ]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            criterionType: 'StaticThresholdCriterion'
            name: 'restarts'
            metricNamespace: 'Microsoft.App/containerApps'
            metricName: 'RestartCount'
            timeAggregation: 'Maximum'
            operator: 'GreaterThan'
            threshold: 2
          }
        ]
      }
      actions: [
        {
          actionGroupId: people.id
        }
      ]
    }
  }
]
