//! A topology segment: `KEY=VALUE`.

/// The longest name and the longest value of a segment (CSI, "Topology").
const BYTES_MAX: usize = 63;

/// Reads a segment as CSI limits it: `[PREFIX/]NAME`, and a value.
pub(super) fn parse(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or("give KEY=VALUE, such as topology.stead.dev/zone=z1")?;
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    for (what, text) in [("name of the key", name), ("value", value)] {
        let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let fine = bytes.len() <= BYTES_MAX
            && ends(bytes.first())
            && ends(bytes.last())
            && bytes.iter().all(inner);
        if !fine {
            return Err(format!(
                "the {what} '{text}' has to be 1 to {BYTES_MAX} of letters, digits, '-', '.' and '_', \
                 with a letter or a digit at either end"
            ));
        }
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_a_key_and_a_value() {
        assert_eq!(parse("a.b/zone=z-1"), Ok(("a.b/zone".into(), "z-1".into())));
        for bad in ["", "zone", "zone=", "=z1", "a/=z", "zone=z 1", "zone=-z"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
