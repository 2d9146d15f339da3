//! The name of the driver.

/// The longest name (CSI, `GetPluginInfoResponse.name`).
const BYTES_MAX: usize = 63;

/// Checks a driver name: domain notation, and a letter at either end, as the conformance suite of
/// CSI demands.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let letter = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphabetic);
    let bytes = text.as_bytes();
    let fine = (2..=BYTES_MAX).contains(&bytes.len())
        && letter(bytes.first())
        && letter(bytes.last())
        && bytes.iter().copied().all(inner);
    if fine {
        return Ok(text.to_owned());
    }
    Err("use 2 to 63 of letters, digits, '-', '.' and '_', with a letter at either end, \
         such as csi.stead.dev"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_name_begins_and_ends_with_a_letter() {
        assert!(parse("csi.stead.dev").is_ok());
        for bad in ["", "a", "1a", "a1", "a b", "a/b", &"a".repeat(64)] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
