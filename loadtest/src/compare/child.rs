//! How a comparison's processes begin: as this program, which promises the kernel to end with the comparison, however that ends,
//! and then becomes the program that is wanted.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::cli::ChildOptions;

/// The words before a command that make it end with this process.
pub(super) fn prefix(tool: &Path) -> Vec<String> {
    let tool = tool.display().to_string();
    let parent = std::process::id().to_string();
    let words = [&tool, "child", "--parent", &parent, "--"];
    words.map(str::to_owned).to_vec()
}

/// Turns this process into another program; returns only with why it could not.
pub(crate) fn become_child(options: &ChildOptions) -> String {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return format!("parent death signal: {error}");
    }
    // It may have ended before the promise.
    if getppid().map(Pid::as_raw_nonzero) != Some(options.parent) {
        return "the comparison has ended".to_owned();
    }
    let Some((program, arguments)) = options.command.split_first() else {
        return "no command".to_owned();
    };
    let error = Command::new(program).args(arguments).exec();
    format!("{program}: {error}")
}
