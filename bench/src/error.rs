//! What ends a benchmark: an operation that failed, or something left behind. Slowness never does.

use std::path::PathBuf;

/// An error of a benchmark: the sentence says what happened, or what to change.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are the terms that the sentences speak of.
pub enum BenchError {
    #[error(
        "there is no driver at '{}': build it (`cargo build --release -p stead`), or name it in STEAD_BIN",
        path.display()
    )]
    NoDriver { path: PathBuf },
    #[error("{what}; the end of the driver's log:\n{log}")]
    Driver { what: String, log: String },
    #[error("{call} of '{of}' failed: {} {}", status.code(), status.message())]
    Call { call: &'static str, of: String, status: Box<tonic::Status> },
    #[error("{call} of '{of}' answered what it may not: {what}")]
    Answer { call: &'static str, of: String, what: String },
    #[error("left behind at the end: {}", list(.0))]
    Leaked(Vec<String>),
    #[error("could not {what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the database to compare with failed")]
    Database(#[source] Box<redb::Error>),
    #[error("interrupted")]
    Interrupted,
}

/// The result of a benchmark's functions.
pub type Result<T> = std::result::Result<T, BenchError>;

impl BenchError {
    /// An error of the operating system.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// A call that was refused.
    pub fn call(call: &'static str, of: impl Into<String>, status: tonic::Status) -> Self {
        Self::Call { call, of: of.into(), status: Box::new(status) }
    }

    /// The sentence with the causes behind it.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

impl From<redb::Error> for BenchError {
    fn from(error: redb::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

/// The first few of what is left, and how many there are.
fn list(left: &[String]) -> String {
    const SHOWN_MAX: usize = 10;
    let shown = left[..left.len().min(SHOWN_MAX)].join(", ");
    match left.len() {
        0..=SHOWN_MAX => shown,
        more => format!("{shown}, ... ({more} in all)"),
    }
}
