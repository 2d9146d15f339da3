//! How the program ends when it does not succeed: one sentence on standard error, and a code.

use std::process::ExitCode;

use stead_model::{Error, Kind};

/// The codes that a script may rely on, in the words that `--help` shows.
pub(crate) const CODES: &str = "Exit codes:
  0  success
  1  failure; the sentence on standard error says what to do
  2  the command line is wrong
  3  what was asked for does not exist
  4  the store or a socket does not answer: repeat later";

/// Why the program ends.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Something went wrong; the sentence says what to do.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// The command line contradicts itself.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// What was asked for does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { code: 3, message: message.into() }
    }

    /// Something that is needed does not answer.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { code: 4, message: message.into() }
    }

    /// Says it on standard error and gives the code.
    pub(crate) fn report(&self) -> ExitCode {
        // A code without a sentence: the reader of our output went away, which is its right.
        if !self.message.is_empty() {
            eprintln!("stead: {}", self.message);
        }
        ExitCode::from(self.code)
    }

    /// Whether something that is needed does not answer: a repeat may succeed.
    pub(crate) fn is_unavailable(&self) -> bool {
        self.code == 4
    }

    /// Adds what to do where something does not answer.
    #[must_use]
    pub(crate) fn advice(self, advice: &str) -> Self {
        match self.is_unavailable() {
            true => Self { message: format!("{}; {advice}", self.message), ..self },
            false => self,
        }
    }

    /// Puts the sentence behind what was being done.
    #[must_use]
    pub(crate) fn context(self, doing: &str) -> Self {
        Self { code: self.code, message: format!("{doing}: {}", self.message) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = match error.kind() {
            // What lies between is how a transport words the same thing three times.
            Kind::Unavailable => format!("{error}{}", innermost(&error)),
            _ => error.chain(),
        };
        match error.kind() {
            Kind::Invalid => Self::usage(message),
            Kind::NotFound => Self::not_found(message),
            Kind::Unavailable => Self::unavailable(message),
            _ => Self::new(message),
        }
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    cause.map(|cause| format!(": {cause}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_does_not_answer_have_codes_of_their_own() {
        assert_eq!(Failure::from(Error::not_found("x")).code, 3);
        assert_eq!(Failure::from(Error::unavailable("x")).code, 4);
        assert_eq!(Failure::from(Error::corrupt("x")).code, 1);
    }
}
