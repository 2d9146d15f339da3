//! The groups of options.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use stead_model::name::{DomainName, NodeId};
use stead_model::orchestrator::Orchestrator;

use super::{SocketPath, StoreAddress, StoreListen, driver, duration, socket, topology};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// One JSON object for each line.
    Json,
}

/// How the program reports on itself.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogOptions {
    /// How log lines look; they go to standard error
    #[arg(long, env = "STEAD_LOG_FORMAT", value_enum, default_value = "human", global = true)]
    pub(crate) log_format: LogFormat,

    /// What is logged: a level (error, warn, info, debug, trace), or a list such as
    /// info,stead_node=debug
    #[arg(long, env = "STEAD_LOG", value_name = "FILTER", default_value = "info", global = true)]
    pub(crate) log_level: String,
}

/// An address to listen on, or nothing where the text is empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpListen(Option<SocketAddr>);

impl FromStr for HttpListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let address =
            text.parse().map_err(|_| "give IP:PORT, or nothing ('') for no server".to_owned())?;
        Ok(Self(Some(address)))
    }
}

/// What is served to a monitoring system.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Monitoring")]
pub(crate) struct HttpOptions {
    /// Where /metrics (Prometheus) and /healthz are served, in plain HTTP; '' for nowhere.
    /// By default 127.0.0.1, port 9810 (controller, all), 9811 (node) or 9812 (netagent)
    #[arg(long, env = "STEAD_HTTP_LISTEN", value_name = "IP:PORT")]
    http_listen: Option<HttpListen>,
}

impl HttpOptions {
    /// Where to listen; `port` on the loopback where nothing was said.
    pub(crate) fn listen(&self, port: u16) -> Option<SocketAddr> {
        match self.http_listen {
            Some(HttpListen(address)) => address,
            None => Some(SocketAddr::from(([127, 0, 0, 1], port))),
        }
    }
}

/// Where the program keeps what has to survive it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "State")]
pub(crate) struct StateOptions {
    /// The directory of what has to survive a restart: the store, and sockets of our own
    #[arg(long, env = "STEAD_STATE_DIR", value_name = "DIR", default_value = "/var/lib/stead")]
    pub(crate) state_dir: PathBuf,
}

/// How the driver appears to its orchestrator.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Driver")]
pub(crate) struct DriverOptions {
    /// The UNIX socket of the CSI services, with or without unix://; its name ends in .sock. One left
    /// by a process that is gone is replaced, one that answers is not
    #[arg(
        long,
        env = "CSI_ENDPOINT",
        value_name = "SOCKET",
        default_value = "unix:///run/stead/csi.sock",
        value_parser = socket::parse_endpoint
    )]
    pub(crate) endpoint: SocketPath,

    /// The name that the orchestrator knows the driver by
    #[arg(
        long,
        env = "STEAD_DRIVER_NAME",
        value_name = "NAME",
        default_value = "csi.stead.dev",
        value_parser = driver::parse
    )]
    pub(crate) driver_name: String,

    /// Whose habits to follow: kubernetes (1.26 or later), nomad, swarm (engine 28.2 or later), or
    /// none for the specification to the letter
    #[arg(
        long,
        env = "STEAD_ORCHESTRATOR",
        value_name = "NAME",
        default_value = "none",
        value_parser = parse_orchestrator
    )]
    pub(crate) orchestrator: Orchestrator,

    /// Advertise capabilities that CSI still calls alpha; older sidecars and csi-sanity up to 5.5
    /// refuse a driver that does
    #[arg(long, env = "STEAD_ALPHA_CAPABILITIES", value_parser = BoolishValueParser::new())]
    pub(crate) alpha_capabilities: bool,
}

fn parse_orchestrator(text: &str) -> Result<Orchestrator, String> {
    let known = Orchestrator::ALL.into_iter().find(|one| one.name() == text);
    known.ok_or_else(|| {
        format!("use one of {}", Orchestrator::ALL.map(Orchestrator::name).join(", "))
    })
}

/// Where the volumes are.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Volumes")]
pub(crate) struct PoolOptions {
    /// The directory of the volumes' image files [default: STATE_DIR/pool]
    #[arg(long, env = "STEAD_POOL_DIR", value_name = "DIR")]
    pub(crate) pool_dir: Option<PathBuf>,

    /// Every node sees this directory under this path (NFS, CephFS, GlusterFS), so that a member can
    /// move to any of them; without it, volumes stay on the host that made them
    #[arg(long, env = "STEAD_POOL_SHARED", value_parser = BoolishValueParser::new())]
    pub(crate) pool_shared: bool,
}

/// What the controller decides.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Controller")]
pub(crate) struct ControllerOptions {
    /// How long to wait beyond the end of a dead node's lease before its members are given away: what
    /// the node needs to end processes and to unmount
    #[arg(
        long,
        env = "STEAD_LEASE_GRACE",
        value_name = "DURATION",
        default_value = "1s",
        value_parser = duration::parse
    )]
    pub(crate) lease_grace: Duration,
}

/// Where the store is served to others.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Store")]
pub(crate) struct StoreListenOptions {
    /// Where the store is served: a UNIX socket (instead of STATE_DIR/store.sock, which is served in
    /// any case where none is named), or IP:PORT for other hosts, which needs the --tls options
    #[arg(long, env = "STEAD_STORE_LISTEN", value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) store_listen: Vec<StoreListen>,
}

/// Where the store is reached.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Store")]
pub(crate) struct StoreOptions {
    /// The store: unix:///PATH on this host, or https://HOST:PORT, which needs the --tls options
    #[arg(
        long,
        env = "STEAD_STORE",
        value_name = "ADDRESS",
        default_value = "unix:///var/lib/stead/store.sock"
    )]
    pub(crate) store: StoreAddress,
}

/// Who we are to other hosts, and who vouches for them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsOptions {
    /// The certificate of the authority that signs both sides (PEM)
    #[arg(long, env = "STEAD_TLS_CA", value_name = "FILE", requires_all = ["tls_cert", "tls_key"])]
    tls_ca: Option<PathBuf>,

    /// Our certificate (PEM)
    #[arg(long, env = "STEAD_TLS_CERT", value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,

    /// The key of our certificate (PEM)
    #[arg(long, env = "STEAD_TLS_KEY", value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,
}

/// The three files of mutual TLS.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    /// The authority's certificate.
    pub(crate) ca: PathBuf,
    /// Our certificate.
    pub(crate) cert: PathBuf,
    /// Our key.
    pub(crate) key: PathBuf,
}

impl TlsOptions {
    /// The files, where they were named: all three or none.
    pub(crate) fn files(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            ca: self.tls_ca.clone()?,
            cert: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
        })
    }
}

/// Which host this is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Node")]
pub(crate) struct NodeName {
    /// The name of this host, the same for as long as it has volumes [default: the host name]
    #[arg(long, env = "STEAD_NODE_ID", value_name = "ID")]
    pub(crate) node_id: Option<NodeId>,
}

/// What a host says of itself.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Node")]
pub(crate) struct NodeIdentity {
    #[command(flatten)]
    pub(crate) name: NodeName,

    /// An address of this host, which members without a static one go by; may be repeated
    /// [default: those of the interface with the default route]
    #[arg(long, env = "STEAD_NODE_ADDRESS", value_name = "IP", value_delimiter = ',')]
    pub(crate) node_address: Vec<IpAddr>,

    /// Where this host is, such as topology.stead.dev/zone=z1; may be repeated
    #[arg(
        long,
        env = "STEAD_TOPOLOGY",
        value_name = "KEY=VALUE",
        value_delimiter = ',',
        value_parser = topology::parse
    )]
    pub(crate) topology: Vec<(String, String)>,

    /// How long this host may act without having renewed its lease: a dead host's members are back
    /// elsewhere after about this long; 2s at the least
    #[arg(
        long,
        env = "STEAD_LEASE_TTL",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = duration::parse
    )]
    pub(crate) lease_ttl: Duration,
}

/// What only the node plugin takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Node")]
pub(crate) struct NodeOptions {
    /// The socket of a network agent that runs as a process of its own; without it, the agent runs
    /// inside and answers at STATE_DIR/agent.sock
    #[arg(long, env = "STEAD_AGENT", value_name = "SOCKET")]
    pub(crate) agent: Option<SocketPath>,
}

/// What members are called, and where that is answered.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "DNS")]
pub(crate) struct DnsOptions {
    /// The DNS zone above those of the clusters: mongo-0 of cluster prod is mongo-0.prod.ZONE
    #[arg(long, env = "STEAD_ZONE", value_name = "DOMAIN", default_value = "stead.internal")]
    pub(crate) zone: DomainName,

    /// Where the zone's names are answered over UDP and TCP; may be repeated [default: nowhere]
    #[arg(long, env = "STEAD_DNS_LISTEN", value_name = "IP:PORT", value_delimiter = ',')]
    pub(crate) dns_listen: Vec<SocketAddr>,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// JSON, for scripts.
    Json,
    /// YAML, for scripts.
    Yaml,
}
