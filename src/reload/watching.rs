//! The watch over the files of what runs, as long as it is wanted.

use std::time::SystemTime;

use futures_channel::mpsc::Sender;

use crate::config::Inputs;
use crate::control::admin::Request;
use crate::control::watch::Watch;

#[derive(Debug)]
pub struct Watching {
    watch: Option<Watch>,
    /// What the configuration that runs was read from.
    inputs: Inputs,
    asked: Sender<Request>,
}

impl Watching {
    /// Watches nothing yet. `asked` is told of changes.
    pub fn new(inputs: Inputs, asked: Sender<Request>) -> Self {
        Self {
            watch: None,
            inputs,
            asked,
        }
    }

    /// What was read from `inputs` runs now.
    pub(super) fn follow(&mut self, wanted: bool, inputs: Inputs, read_at: SystemTime) {
        self.inputs = inputs;
        self.go_on(wanted, &Inputs::default(), read_at);
    }

    /// What was read from `tried` does not run, and a change there is as good as one in what does.
    pub(super) fn go_on(&mut self, wanted: bool, tried: &Inputs, read_at: SystemTime) {
        if !wanted {
            self.watch = None;
            return;
        }
        if self.watch.is_none() {
            self.watch = self.start();
        }
        if let Some(watch) = &self.watch {
            watch.follow(self.inputs.clone().and(tried), read_at);
        }
    }

    fn start(&self) -> Option<Watch> {
        let mut asked = self.asked.clone();
        let started = Watch::start(move || {
            // A full queue holds a reload that has not begun.
            asked.try_send(Request::FilesChanged).ok();
        });
        let failed = |error| {
            tracing::error!(%error, "the files of the configuration can't be watched; fs.inotify.max_user_instances may be \
                too low, and SIGHUP still reads them again");
        };
        started.map_err(failed).ok()
    }

    /// The files at the start, before the first reload.
    pub(super) fn begin(&mut self, wanted: bool, read_at: SystemTime) {
        self.go_on(wanted, &Inputs::default(), read_at);
    }
}
