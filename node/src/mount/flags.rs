//! Mount flags as an orchestrator writes them.

use std::fmt;

use nix::mount::MsFlags;
use stead_model::Error;

/// Flags for the kernel, and the text that the file system itself reads. The text may hold a secret,
/// so it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// What any file system understands.
    pub flags: MsFlags,
    /// What is left, joined by commas.
    pub data: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { flags: MsFlags::empty(), data: String::new() }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("flags", &self.flags).finish_non_exhaustive()
    }
}

/// A word, its flag, and whether the word sets it.
const WORDS: [(&str, MsFlags, bool); 25] = [
    ("ro", MsFlags::MS_RDONLY, true),
    ("rw", MsFlags::MS_RDONLY, false),
    ("nosuid", MsFlags::MS_NOSUID, true),
    ("suid", MsFlags::MS_NOSUID, false),
    ("nodev", MsFlags::MS_NODEV, true),
    ("dev", MsFlags::MS_NODEV, false),
    ("noexec", MsFlags::MS_NOEXEC, true),
    ("exec", MsFlags::MS_NOEXEC, false),
    ("sync", MsFlags::MS_SYNCHRONOUS, true),
    ("async", MsFlags::MS_SYNCHRONOUS, false),
    ("dirsync", MsFlags::MS_DIRSYNC, true),
    ("noatime", MsFlags::MS_NOATIME, true),
    ("atime", MsFlags::MS_NOATIME, false),
    ("nodiratime", MsFlags::MS_NODIRATIME, true),
    ("diratime", MsFlags::MS_NODIRATIME, false),
    ("relatime", MsFlags::MS_RELATIME, true),
    ("norelatime", MsFlags::MS_RELATIME, false),
    ("strictatime", MsFlags::MS_STRICTATIME, true),
    ("nostrictatime", MsFlags::MS_STRICTATIME, false),
    ("lazytime", MsFlags::MS_LAZYTIME, true),
    ("nolazytime", MsFlags::MS_LAZYTIME, false),
    ("silent", MsFlags::MS_SILENT, true),
    ("loud", MsFlags::MS_SILENT, false),
    ("defaults", MsFlags::empty(), true),
    ("nofail", MsFlags::empty(), true),
];

/// Words that would change what a mount is, or tell the kernel another device.
const REFUSED: [&str; 11] = [
    "bind",
    "rbind",
    "move",
    "remount",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "loop",
    "unbindable",
];

impl Options {
    /// Reads the flags of a request; each may itself be a list joined by commas.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut options = Self::default();
        for word in words.into_iter().flat_map(|words| words.split(',')) {
            let word = word.trim();
            if REFUSED.contains(&word) {
                return Err(Error::invalid(format!("mount flag '{word}' is not for volumes")));
            }
            if word.contains('\0') {
                return Err(Error::invalid("a mount flag contains a zero byte"));
            }
            match WORDS.iter().find(|(known, _, _)| *known == word) {
                Some((_, flag, true)) => options.flags |= *flag,
                Some((_, flag, false)) => options.flags &= !*flag,
                None => options.add(word),
            }
        }
        Ok(options)
    }

    /// Adds a word for the file system itself, once.
    pub fn add(&mut self, word: &str) {
        if word.is_empty() || self.data.split(',').any(|there| there == word) {
            return;
        }
        if !self.data.is_empty() {
            self.data.push(',');
        }
        self.data.push_str(word);
    }

    /// Whether writing is refused.
    pub fn readonly(&self) -> bool {
        self.flags.contains(MsFlags::MS_RDONLY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_become_flags_and_the_rest_is_left_to_the_file_system() {
        let options = Options::parse(["ro,noatime", "rw", "discard", "commit=30", ""]).unwrap();
        assert_eq!(options.flags, MsFlags::MS_NOATIME);
        assert_eq!(options.data, "discard,commit=30");
        assert!(Options::parse(["ro"]).unwrap().readonly());
        assert!(Options::parse(["bind"]).is_err());
    }

    #[test]
    fn a_secret_in_the_text_is_not_printed() {
        let options = Options::parse(["password=hunter2"]).unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
