//! The one place where an [`Error`] becomes a gRPC status, and a status from our own parts an error.

use stead_model::{Error, Kind};
use tonic::{Code, Status};

/// The code that the CSI specification names for each kind ("Error Scheme" and the error tables of
/// each procedure).
pub fn code(kind: Kind) -> Code {
    match kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::Conflict | Kind::Busy => Code::Aborted,
        Kind::Precondition => Code::FailedPrecondition,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::OutOfRange => Code::OutOfRange,
        Kind::Unavailable => Code::Unavailable,
        Kind::Corrupt => Code::Internal,
        Kind::Unsupported => Code::Unimplemented,
    }
}

/// The status of an error: its code, and its sentence with the causes behind it. `details` stays
/// empty, as CSI demands.
pub fn status(error: Error) -> Status {
    Status::new(code(error.kind()), error.chain())
}

/// The error behind a status that one of our own parts answered; any code that none of them sends
/// means that the other side cannot be relied on now.
pub fn error(status: &Status) -> Error {
    let kind = match status.code() {
        Code::InvalidArgument => Kind::Invalid,
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists => Kind::AlreadyExists,
        Code::Aborted => Kind::Conflict,
        Code::FailedPrecondition => Kind::Precondition,
        Code::ResourceExhausted => Kind::Exhausted,
        Code::OutOfRange => Kind::OutOfRange,
        Code::Internal => Kind::Corrupt,
        Code::Unimplemented => Kind::Unsupported,
        _ => Kind::Unavailable,
    };
    Error::new(kind, status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 11] = [
        Kind::Invalid,
        Kind::NotFound,
        Kind::AlreadyExists,
        Kind::Conflict,
        Kind::Busy,
        Kind::Precondition,
        Kind::Exhausted,
        Kind::OutOfRange,
        Kind::Unavailable,
        Kind::Corrupt,
        Kind::Unsupported,
    ];

    #[test]
    fn a_kind_survives_the_wire_but_for_busy_which_reads_as_a_conflict() {
        for kind in KINDS {
            let read = error(&status(Error::new(kind, "why"))).kind();
            let expected = if kind == Kind::Busy { Kind::Conflict } else { kind };
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn the_status_carries_the_causes_and_no_details() {
        let status = status(Error::corrupt("bad record").because(std::io::Error::other("eof")));
        assert_eq!(status.message(), "bad record: eof");
        assert!(status.details().is_empty());
    }
}
