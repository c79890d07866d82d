//! Clients: one set that may repeat a read, one that never repeats a write.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use untoil_actions::{AsgWrites, EcsWrites, Eyes, SsmWrites};
use untoil_clock::Clock;
use untoil_intake::WAIT;

use crate::asg::{AsgEyes, AsgHands};
use crate::cloudwatch::MetricEyes;
use crate::ecs::{EcsEyes, EcsHands};
use crate::gate::{Flow, Gate};
use crate::limits::{Limits, Priority};
use crate::sqs::SqsQueue;
use crate::sqs_address::QueueAddress;
use crate::ssm::{SsmEyes, SsmHands};

/// How long a request may take. Defaults suit a region next door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To a connection, with TLS.
    pub connect: Duration,
    /// To the answer of one try of a read.
    pub read_try: Duration,
    /// To the end of a read with all its tries, without waiting for its turn.
    pub read: Duration,
    /// To the answer of a write; it has one try.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            read_try: Duration::from_secs(5),
            read: Duration::from_secs(12),
            // Longer than a read: giving up early turns a slow success into an unknown outcome.
            write: Duration::from_secs(15),
        }
    }
}

/// Where credentials come from.
#[derive(Clone, Default)]
pub enum Credentials {
    /// The default chain: environment, profile, web identity, container, instance role.
    #[default]
    Chain,
    /// A fixed pair, for stand-ins of AWS in tests and trials.
    Fixed {
        /// The access key's id.
        id: String,
        /// Its secret. Never printed.
        secret: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Chain => f.write_str("Chain"),
            Self::Fixed { id, .. } => write!(f, "Fixed({id}, …)"),
        }
    }
}

/// How to reach AWS.
#[derive(Debug, Clone)]
pub struct AwsConfig {
    /// The region; without one, as the environment or the profile says.
    pub region: Option<String>,
    /// The address of every service; without one, `AWS_ENDPOINT_URL` or AWS itself.
    pub endpoint: Option<String>,
    /// Where credentials come from.
    pub credentials: Credentials,
    /// How long a request may take.
    pub timeouts: Timeouts,
    /// How often each API may be called.
    pub limits: Limits,
    /// Tells whether a clearance is still good, and how far AWS's clock is away.
    pub clock: Arc<dyn Clock>,
}

impl AwsConfig {
    /// Everything from the environment.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            region: None,
            endpoint: None,
            credentials: Credentials::default(),
            timeouts: Timeouts::default(),
            limits: Limits::published(),
            clock,
        }
    }
}

/// The ports of AWS that change something; `Hands` has two more, of other crates.
#[derive(Debug, Clone)]
pub struct Writes {
    /// Systems Manager.
    pub ssm: Arc<dyn SsmWrites>,
    /// ECS.
    pub ecs: Arc<dyn EcsWrites>,
    /// EC2 Auto Scaling.
    pub asg: Arc<dyn AsgWrites>,
}

/// What a port needs beside its client.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) region: String,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// AWS, reached with one set of credentials in one region: one account, as AWS counts calls. Cloning
/// is cheap: clients, connections and what was learned about rates are shared.
#[derive(Debug, Clone)]
pub struct Aws {
    pub(crate) shared: Shared,
    pub(crate) sts: aws_sdk_sts::Client,
    sqs: aws_sdk_sqs::Client,
    readers: Readers,
    writes: Writes,
}

/// The clients that read.
#[derive(Debug, Clone)]
struct Readers {
    ssm: aws_sdk_ssm::Client,
    ecs: aws_sdk_ecs::Client,
    asg: aws_sdk_autoscaling::Client,
    metrics: aws_sdk_cloudwatch::Client,
}

/// Makes the clients. Nothing is sent yet; credentials are looked for at the first call.
pub async fn connect(config: AwsConfig) -> Aws {
    let timeouts = config.timeouts;
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client());
    if let Some(region) = config.region {
        loader = loader.region(Region::new(region));
    }
    if let Some(endpoint) = config.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Credentials::Fixed { id, secret } = config.credentials {
        let fixed = aws_sdk_sts::config::Credentials::new(id, secret, None, None, "fixed");
        loader = loader.credentials_provider(fixed);
    }
    let sdk = loader.load().await;
    let region = sdk.region().map_or_else(|| "*".to_owned(), ToString::to_string);
    let gate = Gate::new(Arc::clone(&config.clock), config.limits, timeouts.read);
    let shared = Shared { region, gate: Arc::new(gate), clock: config.clock };

    let reading = reading(&sdk, timeouts);
    let writing = writing(&sdk, timeouts);
    let readers = Readers {
        ssm: aws_sdk_ssm::Client::new(&reading),
        ecs: aws_sdk_ecs::Client::new(&reading),
        asg: aws_sdk_autoscaling::Client::new(&reading),
        metrics: aws_sdk_cloudwatch::Client::new(&reading),
    };
    let writes = Writes {
        ssm: Arc::new(SsmHands {
            client: aws_sdk_ssm::Client::new(&writing),
            shared: shared.clone(),
        }),
        ecs: Arc::new(EcsHands {
            client: aws_sdk_ecs::Client::new(&writing),
            shared: shared.clone(),
        }),
        asg: Arc::new(AsgHands {
            client: aws_sdk_autoscaling::Client::new(&writing),
            shared: shared.clone(),
        }),
    };
    let sqs = aws_sdk_sqs::Client::new(&waiting(&sdk, timeouts));
    Aws { shared, sts: aws_sdk_sts::Client::new(&reading), sqs, readers, writes }
}

/// Whose TLS all connections use, and whose certificates are read.
const TLS: Provider = Provider::Rustls(CryptoMode::AwsLc);

/// One pool of connections and one TLS configuration for all clients. Otherwise as the SDK makes it
/// for each client by itself (`default_https_client` of `aws-smithy-runtime`): rustls with aws-lc, the
/// system's certificates, and the proxy that the environment names.
fn http_client() -> SharedHttpClient {
    let client = Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = ConnectorBuilder::default().tls_provider(TLS);
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    });
    SharedHttpClient::new(Late(client))
}

/// Reads the system's certificates for the clients, which the first call waits for otherwise. Blocks for some
/// milliseconds; again it takes none.
pub fn read_certificates() {
    drop(ConnectorBuilder::default().tls_provider(TLS).build());
}

/// Reads the system's certificates when the first connection is made: by itself the SDK does so for each
/// client that is made, which is most of a start.
#[derive(Debug)]
struct Late(SharedHttpClient);

impl HttpClient for Late {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.0.http_connector(settings, components)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

/// The gate repeats reads, so that every try has its own turn; the SDK never does.
fn reading(sdk: &SdkConfig, timeouts: Timeouts) -> SdkConfig {
    once(sdk, timeouts.connect, timeouts.read_try)
}

fn writing(sdk: &SdkConfig, timeouts: Timeouts) -> SdkConfig {
    once(sdk, timeouts.connect, timeouts.write)
}

/// A queue is asked to answer only when there is something, or after a while.
fn waiting(sdk: &SdkConfig, timeouts: Timeouts) -> SdkConfig {
    once(sdk, timeouts.connect, WAIT + timeouts.read_try)
}

fn once(sdk: &SdkConfig, connect: Duration, whole: Duration) -> SdkConfig {
    let limits = TimeoutConfig::builder().connect_timeout(connect).operation_timeout(whole);
    sdk.to_builder().retry_config(RetryConfig::disabled()).timeout_config(limits.build()).build()
}

impl Aws {
    /// The ports that read, for facts.
    #[must_use]
    pub fn eyes(&self) -> Eyes {
        self.eyes_for(Priority::Diagnose)
    }

    /// The ports that read, for calls of one urgency.
    #[must_use]
    pub fn eyes_for(&self, priority: Priority) -> Eyes {
        let shared = || self.shared.clone();
        let Readers { ssm, ecs, asg, metrics } = self.readers.clone();
        Eyes {
            ssm: Arc::new(SsmEyes { client: ssm, shared: shared(), priority }),
            ecs: Arc::new(EcsEyes { client: ecs, shared: shared(), priority }),
            asg: Arc::new(AsgEyes { client: asg, shared: shared(), priority }),
            metrics: Arc::new(MetricEyes { client: metrics, shared: shared(), priority }),
        }
    }

    /// A queue, by its address.
    #[must_use]
    pub fn queue(&self, address: &QueueAddress) -> SqsQueue {
        SqsQueue::new(&self.sqs, self.shared.clone(), address)
    }

    /// How each API that was called so far is used now.
    #[must_use]
    pub fn flows(&self) -> Vec<Flow> {
        self.shared.gate.flows()
    }

    /// The ports that write. A dry run must not ask for them.
    #[must_use]
    pub fn writes(&self) -> Writes {
        self.writes.clone()
    }

    /// The region that is used, or `*` when none is set; then every call fails as not sent.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.shared.region
    }
}
