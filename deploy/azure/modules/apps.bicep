// What runs: the code location, which runs the steps; the daemon, which asks for them; the
// webserver, behind Microsoft Entra sign-in; and a nightly proof. One image, four commands.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the code location app. The other two reach it by this name.')
param codeName string

@description('Name of the daemon app.')
param daemonName string

@description('Name of the webserver app.')
param webName string

@description('Name of the job that proves every night what landed the day before.')
param proofName string

@description('Container Apps environment.')
param platformId string

@description('Workload profile of the code location and the proof.')
param runsProfile string

@description('Host of the container registry.')
param registryServer string

@description('Repository and digest of the image.')
param image string

@description('Identity of the code location and the proof.')
param pipelineIdentity object

@description('Identity of the daemon and the webserver.')
param consoleIdentity object

@description('Cores of the code location, as 2.0.')
param codeCpu string

@description('Memory of the code location, as 4Gi; twice the cores on Consumption.')
param codeMemory string

@description('Where captures land.')
param landingUrl string

@description('Where results go.')
param lakeUrl string

@description('First hour that exists as a partition.')
param start string

@description('How captures are named.')
param captureFormat string

@description('Processes that share a run.')
param processes int

@description('Queue with notices of new captures; empty: none.')
param noticesUrl string

@description('Host of the database.')
param databaseHost string

@description('Database.')
param databaseName string

@description('User of the database.')
param databaseUser string

@description('Where its password stands in the vault.')
param passwordUri string

@description('Storage account that the output of runs goes to.')
param computeLogsAccount string

@description('Container that the output of runs goes to.')
param computeLogsContainer string

@description('Application (client) id of the app registration that people sign in to.')
param signInClientId string

var codePort = 4000
var webPort = 3000
var secretName = 'database-password'

// What deploy/azure/dagster.yaml and workspace.yaml read.
var instanceEnvironment = [
  { name: 'DAGSTER_POSTGRES_HOST', value: databaseHost }
  { name: 'DAGSTER_POSTGRES_DB', value: databaseName }
  { name: 'DAGSTER_POSTGRES_USER', value: databaseUser }
  { name: 'DAGSTER_POSTGRES_PASSWORD', secretRef: secretName }
  { name: 'DAGSTER_COMPUTE_LOGS_ACCOUNT', value: computeLogsAccount }
  { name: 'DAGSTER_COMPUTE_LOGS_CONTAINER', value: computeLogsContainer }
  { name: 'DAGSTER_CODE_HOST', value: codeName }
]

// What stingar_dagster/settings.py and azure-identity read.
var settings = [
  { name: 'STINGAR_LANDING', value: landingUrl }
  { name: 'STINGAR_LAKE', value: lakeUrl }
  { name: 'STINGAR_START', value: start }
  { name: 'STINGAR_CAPTURE_FORMAT', value: captureFormat }
  { name: 'STINGAR_PROCESSES', value: string(processes) }
  { name: 'AZURE_CLIENT_ID', value: pipelineIdentity.clientId }
]

var notices = empty(noticesUrl) ? [] : [
  { name: 'STINGAR_NOTICES', value: noticesUrl }
]

var pipelineEnvironment = concat(settings, notices)

var consoleEnvironment = [
  { name: 'AZURE_CLIENT_ID', value: consoleIdentity.clientId }
]

resource code 'Microsoft.App/containerApps@2024-03-01' = {
  name: codeName
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${pipelineIdentity.id}': {}
    }
  }
  properties: {
    managedEnvironmentId: platformId
    workloadProfileName: runsProfile
    configuration: {
      activeRevisionsMode: 'Single'
      registries: [
        {
          server: registryServer
          identity: pipelineIdentity.id
        }
      ]
      secrets: [
        {
          name: secretName
          keyVaultUrl: passwordUri
          identity: pipelineIdentity.id
        }
      ]
      // Only for apps of this environment: gRPC has no authentication.
      ingress: {
        external: false
        transport: 'tcp'
        targetPort: codePort
        exposedPort: codePort
      }
    }
    template: {
      // The code server waits for runs under way, which take seconds, and is then ended with them.
      terminationGracePeriodSeconds: 120
      containers: [
        {
          name: 'code'
          image: '${registryServer}/${image}'
          command: [
            'dagster'
            'api'
            'grpc'
            '--host'
            '0.0.0.0'
            '--port'
            string(codePort)
            '--module-name'
            'stingar_dagster.definitions'
          ]
          env: concat(instanceEnvironment, pipelineEnvironment)
          resources: {
            cpu: json(codeCpu)
            memory: codeMemory
          }
          probes: [
            {
              type: 'Startup'
              tcpSocket: {
                port: codePort
              }
              periodSeconds: 5
              failureThreshold: 36
            }
            {
              type: 'Liveness'
              tcpSocket: {
                port: codePort
              }
              periodSeconds: 30
              failureThreshold: 5
            }
          ]
        }
      ]
      scale: {
        minReplicas: 1
        maxReplicas: 1
      }
    }
  }
}

resource daemon 'Microsoft.App/containerApps@2024-03-01' = {
  name: daemonName
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${consoleIdentity.id}': {}
    }
  }
  properties: {
    managedEnvironmentId: platformId
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      registries: [
        {
          server: registryServer
          identity: consoleIdentity.id
        }
      ]
      secrets: [
        {
          name: secretName
          keyVaultUrl: passwordUri
          identity: consoleIdentity.id
        }
      ]
    }
    template: {
      containers: [
        {
          // No probe: it has no port. It ends by itself when one of its threads does not answer any
          // more, and is started again.
          name: 'daemon'
          image: '${registryServer}/${image}'
          command: [
            'dagster-daemon'
            'run'
            // Every tick is a line otherwise, and every line costs.
            '--log-level'
            'warning'
            '--workspace'
            '/opt/stingar/home/workspace.yaml'
          ]
          env: concat(instanceEnvironment, consoleEnvironment)
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
        }
      ]
      // Exactly one: two would ask for everything twice.
      scale: {
        minReplicas: 1
        maxReplicas: 1
      }
    }
  }
}

resource web 'Microsoft.App/containerApps@2024-03-01' = {
  name: webName
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${consoleIdentity.id}': {}
    }
  }
  properties: {
    managedEnvironmentId: platformId
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      registries: [
        {
          server: registryServer
          identity: consoleIdentity.id
        }
      ]
      secrets: [
        {
          name: secretName
          keyVaultUrl: passwordUri
          identity: consoleIdentity.id
        }
      ]
      // External means reached from the virtual network: the environment has no public address.
      ingress: {
        external: true
        transport: 'auto'
        targetPort: webPort
        allowInsecure: false
      }
    }
    template: {
      containers: [
        {
          name: 'web'
          image: '${registryServer}/${image}'
          command: [
            'dagster-webserver'
            '--host'
            '0.0.0.0'
            '--port'
            string(webPort)
            '--workspace'
            '/opt/stingar/home/workspace.yaml'
          ]
          env: concat(instanceEnvironment, consoleEnvironment)
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          probes: [
            {
              type: 'Startup'
              httpGet: {
                path: '/server_info'
                port: webPort
              }
              periodSeconds: 5
              failureThreshold: 36
            }
            {
              type: 'Liveness'
              httpGet: {
                path: '/server_info'
                port: webPort
              }
              periodSeconds: 30
              failureThreshold: 5
            }
          ]
        }
      ]
      scale: {
        minReplicas: 1
        maxReplicas: 2
        rules: [
          {
            name: 'requests'
            http: {
              metadata: {
                concurrentRequests: '50'
              }
            }
          }
        ]
      }
    }
  }
}

// Dagster's UI has no authentication of its own.
resource signIn 'Microsoft.App/containerApps/authConfigs@2024-03-01' = {
  parent: web
  name: 'current'
  properties: {
    platform: {
      enabled: true
    }
    globalValidation: {
      unauthenticatedClientAction: 'RedirectToLoginPage'
      redirectToProvider: 'azureactivedirectory'
    }
    httpSettings: {
      requireHttps: true
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        // Without a client secret, people sign in by an id token: there is no secret to keep.
        registration: {
          clientId: signInClientId
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
        }
        validation: {
          allowedAudiences: [
            signInClientId
          ]
        }
      }
    }
  }
}

resource proof 'Microsoft.App/jobs@2024-03-01' = {
  name: proofName
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${pipelineIdentity.id}': {}
    }
  }
  properties: {
    environmentId: platformId
    workloadProfileName: runsProfile
    configuration: {
      triggerType: 'Schedule'
      scheduleTriggerConfig: {
        cronExpression: '30 2 * * *'
        parallelism: 1
        replicaCompletionCount: 1
      }
      replicaTimeout: 14400
      replicaRetryLimit: 0
      registries: [
        {
          server: registryServer
          identity: pipelineIdentity.id
        }
      ]
    }
    template: {
      containers: [
        {
          name: 'proof'
          image: '${registryServer}/${image}'
          command: [
            '/bin/sh'
            '-c'
            'exec stingar verify --since "$(date -u -d yesterday +%F)" --until "$(date -u +%F)" --wait 900'
          ]
          env: pipelineEnvironment
          resources: {
            cpu: json('1.0')
            memory: '2Gi'
          }
        }
      ]
    }
  }
}

output codeId string = code.id
output daemonId string = daemon.id
output webId string = web.id
output webUrl string = 'https://${web.properties.configuration.ingress.fqdn}'
