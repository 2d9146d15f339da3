//! The programs that come with each file system: the only ones that this crate runs.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::FsKind;
use crate::error::{NodeError, Result};

/// How long making a file system may take: it writes little, but a discard may be slow.
const MKFS_LIMIT: Duration = Duration::from_secs(300);
/// How long a check may take; the call that waits for it gives up earlier and joins it again.
const FSCK_LIMIT: Duration = Duration::from_secs(3600);
/// How long growing may take.
const GROW_LIMIT: Duration = Duration::from_secs(900);
/// The most of a program's complaint that goes into an error.
const STDERR_CHARS_MAX: usize = 600;

struct Tool {
    program: &'static str,
    package: &'static str,
    limit: Duration,
}

struct Outcome {
    code: Option<i32>,
    status: String,
    output: String,
}

/// Makes a file system. Whoever calls this has proven that nothing is lost by it.
pub async fn mkfs(kind: FsKind, device: &Path) -> Result<()> {
    let (program, package, arguments): (_, _, &[&str]) = match kind {
        // Not `-m 5`: nobody but the member's database writes here, so nothing is kept back for root.
        FsKind::Ext4 => ("mkfs.ext4", "e2fsprogs", &["-q", "-F", "-m", "0"]),
        FsKind::Xfs => ("mkfs.xfs", "xfsprogs", &["-q", "-f"]),
        FsKind::Btrfs => ("mkfs.btrfs", "btrfs-progs", &["-q", "-f"]),
    };
    succeed(Tool { program, package, limit: MKFS_LIMIT }, arguments, device).await
}

/// Repairs what can be repaired without a person. XFS and Btrfs replay their logs when mounted.
pub async fn check(kind: FsKind, device: &Path) -> Result<()> {
    match kind {
        FsKind::Ext4 => check_ext4(&["-p"], device).await,
        FsKind::Xfs | FsKind::Btrfs => Ok(()),
    }
}

/// Makes an ext4 that is not mounted as large as its device. While it is mounted the kernel does that
/// only for CAP_SYS_RESOURCE, which not every container has.
pub async fn grow_unmounted_ext4(device: &Path) -> Result<()> {
    // resize2fs(8) refuses one that was not checked in full since its last mount.
    check_ext4(&["-f", "-p"], device).await?;
    let tool = Tool { program: "resize2fs", package: "e2fsprogs", limit: GROW_LIMIT };
    succeed(tool, &[], device).await
}

async fn check_ext4(arguments: &[&str], device: &Path) -> Result<()> {
    let tool = Tool { program: "e2fsck", package: "e2fsprogs", limit: FSCK_LIMIT };
    let outcome = run(&tool, arguments, device).await?;
    // e2fsck(8): 0 in order, 1 mended, 2 mended and a reboot asked for (root file systems only), 4 errors
    // left, 8 and above it could not work.
    match outcome.code {
        Some(0..=2) => Ok(()),
        Some(code) if code & 4 != 0 => {
            Err(NodeError::Damaged { device: device.to_owned(), report: outcome.output })
        }
        _ => Err(failed(&tool, outcome, device)),
    }
}

/// Makes a mounted file system as large as its device.
pub async fn grow(kind: FsKind, device: &Path, mounted_at: &Path) -> Result<()> {
    let (program, package, arguments, last): (_, _, &[&str], _) = match kind {
        FsKind::Ext4 => ("resize2fs", "e2fsprogs", &[], device),
        FsKind::Xfs => ("xfs_growfs", "xfsprogs", &["-d"], mounted_at),
        FsKind::Btrfs => ("btrfs", "btrfs-progs", &["filesystem", "resize", "max"], mounted_at),
    };
    let grown = succeed(Tool { program, package, limit: GROW_LIMIT }, arguments, last).await;
    match grown {
        Err(NodeError::Tool { stderr, .. }) if stderr.contains("Permission denied to resize") => {
            Err(NodeError::MayNotGrow)
        }
        grown => grown,
    }
}

async fn succeed(tool: Tool, arguments: &[&str], last: &Path) -> Result<()> {
    let outcome = run(&tool, arguments, last).await?;
    if outcome.code == Some(0) { Ok(()) } else { Err(failed(&tool, outcome, last)) }
}

async fn run(tool: &Tool, arguments: &[&str], last: &Path) -> Result<Outcome> {
    let mut command = Command::new(tool.program);
    command.args(arguments).arg(last).stdin(Stdio::null()).kill_on_drop(true);
    // Nothing in its messages may depend on the host's language.
    command.env("LC_ALL", "C");
    let started = tokio::time::Instant::now();
    let output = match tokio::time::timeout(tool.limit, command.output()).await {
        Err(_) => {
            return Err(NodeError::ToolDeadline { program: tool.program, limit: tool.limit });
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(NodeError::MissingTool { program: tool.program, package: tool.package });
        }
        Ok(output) => output.map_err(NodeError::io("run", Path::new(tool.program)))?,
    };
    tracing::debug!(program = tool.program, status = %output.status, elapsed = ?started.elapsed(), "ran");
    let text = if output.stderr.is_empty() { output.stdout } else { output.stderr };
    let text = String::from_utf8_lossy(&text);
    Ok(Outcome {
        code: output.status.code(),
        status: output.status.to_string(),
        output: text.trim().replace('\n', "; ").chars().take(STDERR_CHARS_MAX).collect(),
    })
}

fn failed(tool: &Tool, outcome: Outcome, last: &Path) -> NodeError {
    // A program outlives a plugin that is killed, and keeps its device to itself until it ends.
    if ["in use", "busy"].iter().any(|word| outcome.output.contains(word)) {
        let users = format!("a program that has it alone ({})", outcome.output);
        return NodeError::InUse { path: last.to_owned(), users };
    }
    NodeError::Tool { program: tool.program, status: outcome.status, stderr: outcome.output }
}
