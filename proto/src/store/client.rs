//! The asking side.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use stead_model::port::{Change, Changes, Entry, IdentityStore, Key, Page, Revision, check_value};
use stead_model::{Error, Result};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{ANSWERED, from_wire};
use crate::stead::v1::store_client::StoreClient;
use crate::stead::v1::{self, watch_response};

/// How long a call may take unless another deadline was set.
const DEADLINE: Duration = Duration::from_secs(5);

/// The identity store of another host.
///
/// Every call has a deadline. One whose answer was lost is [`Kind::Unavailable`](stead_model::Kind)
/// and may have happened; nothing is repeated here.
#[derive(Debug, Clone)]
pub struct RemoteStore {
    client: StoreClient<Channel>,
    deadline: Duration,
}

impl RemoteStore {
    /// The store at the other end of this channel; see [`crate::transport::connect`].
    pub fn new(channel: Channel) -> Self {
        Self { client: StoreClient::new(channel), deadline: DEADLINE }
    }

    /// The same store with another deadline for each call.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Makes one call with the deadline, which the server is told too.
    async fn call<Q, A>(
        &self,
        message: Q,
        send: impl AsyncFnOnce(StoreClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        let answer = tokio::time::timeout(self.deadline, send(self.client.clone(), request)).await;
        let answer = answer.map_err(|_| self.late())?;
        answer.map(Response::into_inner).map_err(|status| match status.code() {
            // Either end may notice first that the time is over.
            Code::Cancelled | Code::DeadlineExceeded => self.late(),
            _ => error(&status),
        })
    }

    fn late(&self) -> Error {
        let deadline = self.deadline.as_millis();
        Error::unavailable(format!("the identity store did not answer within {deadline} ms"))
    }
}

fn error(status: &Status) -> Error {
    if status.metadata().contains_key(ANSWERED) {
        return crate::status::error(status);
    }
    match status.code() {
        Code::Unimplemented => Error::unavailable(
            "what answers there is no identity store: check the address of the controller",
        ),
        _ => Error::unavailable(format!("the identity store cannot be reached: {}", root(status))),
    }
}

/// What is at the bottom of it: the layers above only repeat that something failed.
fn root(status: &Status) -> String {
    let mut cause = std::error::Error::source(status);
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    cause.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

#[async_trait]
impl IdentityStore for RemoteStore {
    async fn create(&self, key: &Key, value: Bytes) -> Result<Revision> {
        check_value(&value)?;
        let message = v1::CreateRequest { key: key.to_string(), value: value.into() };
        let answer = self.call(message, async |mut client, request| client.create(request).await);
        Ok(Revision(answer.await?.revision))
    }

    async fn update(&self, key: &Key, value: Bytes, at: Revision) -> Result<Revision> {
        check_value(&value)?;
        let message = v1::UpdateRequest { key: key.to_string(), value: value.into(), at: at.0 };
        let answer = self.call(message, async |mut client, request| client.update(request).await);
        Ok(Revision(answer.await?.revision))
    }

    async fn delete(&self, key: &Key, at: Revision) -> Result<()> {
        let message = v1::DeleteRequest { key: key.to_string(), at: at.0 };
        let answer = self.call(message, async |mut client, request| client.delete(request).await);
        answer.await.map(drop)
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let message = v1::GetRequest { key: key.to_string() };
        let answer = self.call(message, async |mut client, request| client.get(request).await);
        answer.await?.entry.map(from_wire).transpose()
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Vec<Entry>> {
        let (mut entries, wanted) = (Vec::<Entry>::new(), page.entries_max());
        let mut after = page.after;
        loop {
            let message = v1::ListRequest {
                prefix: prefix.to_owned(),
                after: after.as_ref().map(Key::to_string),
                limit: u32::try_from(wanted - entries.len()).unwrap_or(u32::MAX),
            };
            let answer = self.call(message, async |mut client, request| client.list(request).await);
            let answer = answer.await?;
            let got = !answer.entries.is_empty();
            for entry in answer.entries {
                entries.push(from_wire(entry)?);
            }
            if !answer.more || !got || entries.len() >= wanted {
                return Ok(entries);
            }
            after = entries.last().map(|entry| entry.key.clone());
        }
    }

    async fn watch(&self, prefix: &str) -> Result<Changes> {
        let message = v1::WatchRequest { prefix: prefix.to_owned() };
        let begin = async {
            // No deadline goes with the request: the server would end the stream by it.
            let mut told = self.client.clone().watch(Request::new(message)).await?.into_inner();
            told.message().await?;
            Ok(told)
        };
        let begun = tokio::time::timeout(self.deadline, begin).await.map_err(|_| self.late())?;
        let told = begun.map_err(|status: Status| error(&status))?;
        let changes = stream::unfold(Some(told), async |told| next(told?).await);
        Ok(changes.boxed())
    }
}

/// The next change; behind an error there is none, and a stream that merely ends is an error too.
async fn next(
    mut told: Streaming<v1::WatchResponse>,
) -> Option<(Result<Change>, Option<Streaming<v1::WatchResponse>>)> {
    loop {
        let change = match told.message().await {
            Ok(Some(message)) => match message.change {
                Some(watch_response::Change::Put(entry)) => from_wire(entry).map(Change::Put),
                Some(watch_response::Change::Deleted(key)) => key.parse().map(Change::Deleted),
                None => continue,
            },
            Ok(None) => Err(Error::unavailable("the identity store ended the watch")),
            Err(status) => Err(error(&status)),
        };
        let told = change.is_ok().then_some(told);
        return Some((change, told));
    }
}
