//! Tests of the pool.

mod crash;
mod disk;
mod rules;

use std::os::unix::fs::FileExt;
use std::path::Path;

use async_trait::async_trait;
use stead_model::Result;
use stead_model::name::{Bytes, VolumeId};
use stead_model::port::contract::volume::{ContentProbe, Subject};
use stead_model::port::{Progress, VolumeBackend, VolumeRequest};

use super::parameters::Parameters;
use super::{DIRECT_IO, Pool, PoolConfig, files, volume};

/// Looks into the images.
struct Images(Pool);

#[async_trait]
impl ContentProbe for Images {
    async fn write(&self, volume: &VolumeId, offset: u64, bytes: &[u8]) -> Result<()> {
        let image = std::fs::File::options().write(true).open(self.0.layout().image(volume));
        image.unwrap().write_all_at(bytes, offset).unwrap();
        Ok(())
    }

    async fn read(&self, volume: &VolumeId, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let image = std::fs::File::open(self.0.layout().image(volume)).unwrap();
        image.read_exact_at(&mut bytes, offset).unwrap();
        Ok(bytes)
    }

    async fn parameter(&self, id: &VolumeId, key: &str) -> Option<String> {
        let all: Parameters = files::read(&volume::parameters(self.0.layout(), id)).unwrap()?;
        all.get(key).cloned()
    }

    fn mutable(&self) -> (&'static str, [&'static str; 2]) {
        (DIRECT_IO, ["on", "off"])
    }
}

fn subject(pool: Pool) -> Subject<Pool, Images> {
    Subject { probe: Images(pool.clone()), backend: pool }
}

fn local() -> PoolConfig {
    PoolConfig { node: Some("node-a".parse().unwrap()), ..PoolConfig::default() }
}

fn shared() -> PoolConfig {
    PoolConfig { shared: true, ..PoolConfig::default() }
}

async fn open(root: &Path) -> Pool {
    Pool::open(root, local()).await.unwrap()
}

fn request(text: &str, mib: u64) -> VolumeRequest {
    VolumeRequest {
        id: text.parse().unwrap(),
        size: Bytes(mib << 20),
        source: None,
        parameters: Parameters::new(),
    }
}

async fn make(pool: &Pool, text: &str, mib: u64) -> VolumeId {
    pool.create(&request(text, mib), &Progress::default()).await.unwrap();
    text.parse().unwrap()
}
