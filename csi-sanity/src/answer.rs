//! What is demanded of every answer.

use std::fmt::Debug;

use tonic::{Code, Status};

/// The answer, which must not be a refusal.
#[track_caller]
pub fn granted<T>(answer: Result<T, Status>) -> T {
    match answer {
        Ok(answer) => answer,
        Err(status) => panic!("refused with {:?}: {}", status.code(), status.message()),
    }
}

/// The sentence of a refusal, which must have this code and these words.
///
//= CSI "Error Scheme": "The status `message` MUST contain a human readable description of error";
//= "the status `details` MUST be empty".
#[track_caller]
pub fn refused<T: Debug>(answer: Result<T, Status>, code: Code, words: &[&str]) -> String {
    let status = match answer {
        Ok(answer) => panic!("should be refused with {code:?}, was granted: {answer:?}"),
        Err(status) => status,
    };
    let sentence = status.message().to_owned();
    assert_eq!(status.code(), code, "{sentence}");
    assert!(!sentence.is_empty(), "a refusal without a sentence");
    assert!(status.details().is_empty(), "the details of a status are not empty: {sentence}");
    for word in words {
        assert!(sentence.contains(word), "'{word}' is not in: {sentence}");
    }
    sentence
}
