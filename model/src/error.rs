//! The one error that crosses a port: named by what its reader may do about it.

use std::sync::Arc;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller may do about an error; a transport maps each to one code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request can never succeed as it is: change it.
    Invalid,
    /// The named object does not exist.
    NotFound,
    /// The name is taken by an object that differs from the one asked for.
    AlreadyExists,
    /// A compare-and-swap lost: read again and decide anew.
    Conflict,
    /// Another operation is under way on the object: repeat later.
    Busy,
    /// The object is not in the state the request needs; the message says which state and why.
    Precondition,
    /// A resource is used up: free some, or ask for less.
    Exhausted,
    /// A size or an offset lies outside what can be served.
    OutOfRange,
    /// Something that is needed does not answer now: repeat with patience.
    Unavailable,
    /// Stored or kernel state contradicts itself; a person has to look.
    Corrupt,
    /// This configuration cannot do it at all.
    Unsupported,
}

/// An error with the sentence that its reader sees; the cause is kept apart and never repeated in it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
    #[source]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        $(
            #[doc = concat!("An error of kind [`Kind::", stringify!($kind), "`].")]
            pub fn $name(message: impl Into<String>) -> Self {
                Self { kind: Kind::$kind, message: message.into(), source: None }
            }
        )*
    };
}

impl Error {
    constructors! {
        invalid => Invalid,
        not_found => NotFound,
        already_exists => AlreadyExists,
        conflict => Conflict,
        busy => Busy,
        precondition => Precondition,
        exhausted => Exhausted,
        out_of_range => OutOfRange,
        unavailable => Unavailable,
        corrupt => Corrupt,
        unsupported => Unsupported,
    }

    /// An error of the given kind; adapters use it in their one conversion.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Adds the cause, which [`Error::chain`] prints behind the message.
    #[must_use]
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What the caller may do about it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message and every cause behind it, joined by colons: for the one place that reports it.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_every_cause_once() {
        let error = Error::unavailable("could not write the record")
            .because(std::io::Error::other("disk full"));
        assert_eq!(error.to_string(), "could not write the record");
        assert_eq!(error.chain(), "could not write the record: disk full");
        assert_eq!(error.kind(), Kind::Unavailable);
    }
}
