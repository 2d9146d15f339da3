//! HTTP for monitoring: `/metrics` and `/healthz`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Process, metrics};
use crate::failure::Failure;

/// How many connections are served at a time.
const CONNECTIONS_MAX: usize = 32;

/// How long one connection may last: scrapes are short.
const CONNECTION_MAX: Duration = Duration::from_secs(30);

/// How long a health check may take: a store that is slower than this is no help to anybody.
const CHECK_MAX: Duration = Duration::from_secs(2);

type Answer = Response<Full<Bytes>>;

/// Something that has to be true for the process to be of use; otherwise a sentence.
pub(crate) type Check = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Monitoring, bound but not yet served.
pub(crate) struct Monitor {
    listener: Option<TcpListener>,
    metrics: PrometheusHandle,
}

impl Monitor {
    /// Starts recording metrics, and reserves the address where one is given.
    pub(crate) async fn bind(address: Option<SocketAddr>) -> Result<Self, Failure> {
        let listener = match address {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        Ok(Self { listener, metrics: metrics::start()? })
    }

    /// Serves as a part of the process; health is what all `checks` say.
    pub(crate) fn spawn(self, process: &Process, checks: Vec<Check>) {
        let monitoring = Monitoring { metrics: self.metrics, checks: Arc::new(checks) };
        process.spawn("upkeep of metrics", monitoring.clone().upkeep(process.background()));
        if let Some(listener) = self.listener {
            process.spawn("monitoring endpoint", monitoring.serve(listener, process.background()));
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(format!(
            "could not listen on {address}: {error}; name another address by --http-listen ('' for \
             none)"
        ))
    })
}

/// What monitoring may ask of the process.
#[derive(Clone)]
struct Monitoring {
    metrics: PrometheusHandle,
    checks: Arc<Vec<Check>>,
}

impl Monitoring {
    /// Keeps the memory of the metrics bounded, whether or not anybody reads them.
    async fn upkeep(self, stop: CancellationToken) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(metrics::UPKEEP);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => self.metrics.run_upkeep(),
            }
        }
    }

    /// Serves until it is told to stop.
    async fn serve(self, listener: TcpListener, stop: CancellationToken) -> Result<(), Failure> {
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = free.clone().acquire_owned().await else { return Ok(()) };
            let accepted = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (monitoring, stop) = (self.clone(), stop.clone());
                    tokio::spawn(async move {
                        monitoring.connection(stream, stop).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, for instance: to try at once would only spin.
                    debug!(%error, "no connection was accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, stop: CancellationToken) {
        let service = service_fn(move |request| {
            let monitoring = self.clone();
            async move { Ok::<_, Infallible>(monitoring.answer(&request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(CONNECTION_MAX)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            () = stop.cancelled() => {}
            _ = tokio::time::timeout(CONNECTION_MAX, connection) => {}
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
            answer
                .headers_mut()
                .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/metrics" => {
                metrics::measure();
                text(StatusCode::OK, self.metrics.render())
            }
            "/healthz" => match self.health().await {
                Ok(()) => text(StatusCode::OK, "ok\n"),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
            },
            _ => text(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n"),
        }
    }

    async fn health(&self) -> Result<(), String> {
        for check in self.checks.iter() {
            match tokio::time::timeout(CHECK_MAX, check()).await {
                Ok(result) => result?,
                Err(_) => return Err("a health check did not end within 2 s".to_owned()),
            }
        }
        Ok(())
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    // The version is that of Prometheus' text format; other readers ignore it.
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
