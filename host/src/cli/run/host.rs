//! What a session runs: the app, and the socket on which others reach it.

use crate::app::{App, Left};
use crate::cli::exit::not_started;
use crate::cli::typed::Typed;
#[cfg(unix)]
use crate::control::Control;

/// A running app, and who may speak to it from outside.
pub(super) struct Host {
    pub(super) app: App,
    #[cfg(unix)]
    control: Option<Control>,
}

impl Host {
    /// The app by itself.
    pub(super) const fn new(app: App) -> Self {
        Self {
            app,
            #[cfg(unix)]
            control: None,
        }
    }

    /// Lets `pipehost send` reach it from now on. Where that cannot be, it is said, and everything else goes on.
    #[cfg(unix)]
    pub(super) async fn open(&mut self, typed: &Typed) {
        match Control::start(self.app.commands(), self.app.data()).await {
            Ok(control) => self.control = Some(control),
            Err(failure) => {
                not_started(&typed.failure(&failure));
            }
        }
    }

    /// Whether `pipehost send` reaches it.
    pub(super) const fn is_open(&self) -> bool {
        #[cfg(unix)]
        return self.control.is_some();
        #[cfg(not(unix))]
        return false;
    }

    /// Stops everything: nobody new gets through, then the app, then those who still read how their runs ended. Returns what is left for the next
    /// start.
    pub(super) async fn stop(self) -> Left {
        #[cfg(unix)]
        if let Some(control) = &self.control {
            control.close();
        }
        let left = self.app.stop().await;
        #[cfg(unix)]
        if let Some(control) = self.control {
            control.stop().await;
        }
        left
    }
}
