//! What is left once every volume was deleted.

use std::path::Path;

use stead_proto::stead::v1::ListRequest;
use stead_proto::stead::v1::store_client::StoreClient;
use tonic::transport::Channel;

use crate::{BenchError, Result};

/// What may stay, by the beginning of its key: a member's term never goes down, and clusters, address
/// pools and nodes are not a volume's.
const KEPT: [&str; 4] = ["hold/member/", "cluster/", "pool/", "node/"];

/// Whether the deletion of every volume may leave this record.
fn may_stay(key: &str) -> bool {
    KEPT.iter().any(|kept| key.starts_with(kept))
}

/// Refuses where a record or a file of a volume is left. Returns how many records stay by design.
pub async fn check(store: &mut StoreClient<Channel>, pool: &Path) -> Result<usize> {
    let keys = keys(store).await?;
    let (kept, mut left): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| may_stay(key));
    for dir in ["volumes", "snapshots"] {
        left.extend(names(&pool.join(dir))?);
    }
    if left.is_empty() { Ok(kept.len()) } else { Err(BenchError::Leaked(left)) }
}

async fn keys(store: &mut StoreClient<Channel>) -> Result<Vec<String>> {
    let mut keys: Vec<String> = Vec::new();
    loop {
        let request = ListRequest { prefix: String::new(), after: keys.last().cloned(), limit: 0 };
        let page = store.list(request).await;
        let page = page.map_err(|status| BenchError::call("Store.List", "all keys", status))?;
        let entries = page.into_inner().entries;
        if entries.is_empty() {
            return Ok(keys);
        }
        keys.extend(entries.into_iter().map(|entry| entry.key));
    }
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let failed = |error| BenchError::io(format!("read '{}'", dir.display()), error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        names.push(entry.map_err(failed)?.path().display().to_string());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_outlives_a_volume_may_stay() {
        assert!(may_stay("hold/member/prod/mongo-0") && may_stay("node/a"));
        for left in ["hold/volume/vol-1", "volume/vol-1", "member/c/m-0", "address/c/10.0.0.1"] {
            assert!(!may_stay(left), "{left}");
        }
    }
}
