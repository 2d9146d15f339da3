//! Log lines: on standard error, so that they never mix with what a command prints.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;
use crate::option::{LogFormat, LogOptions};

/// Starts logging for the whole process.
pub(crate) fn start(options: &LogOptions) -> Result<(), Failure> {
    // The DNS library tells of every query at `info`; naming its target in the filter still shows them.
    let filter = format!("hickory_server=warn,{}", options.log_level);
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::usage(format!(
            "--log-level '{}' is no filter ({error}): use a level such as info, or a list such as \
             info,stead_node=debug",
            options.log_level
        ))
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match options.log_format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
    };
    started.map_err(|error| Failure::new(format!("logging did not start: {error}")))
}
