//! Ctrl-C: the first asks the run to stop where it can go on later, the second ends the program.

use muster_stdx::{OnError, Supervisor};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::Printer;

/// Listens from now on; dropping it ends the listening.
pub(crate) struct Interrupt {
    pub(crate) token: CancellationToken,
    supervisor: Supervisor,
}

impl Interrupt {
    /// `continue_with` is the command that goes on where this one is stopped.
    pub(crate) fn listen(printer: &Printer, continue_with: String) -> Result<Self, Failure> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (token, printer) = (CancellationToken::new(), printer.clone());
        let first = token.clone();
        let supervisor = Supervisor::new();
        supervisor.spawn("interrupt", OnError::Log, async move {
            let mut count = 0;
            loop {
                tokio::select! {
                    // Signals that come together count as one, which is what they are to the user.
                    _ = interrupt.recv() => {}
                    // As above.
                    _ = terminate.recv() => {}
                }
                count += 1;
                if count > 1 {
                    // What was begun is written down; the next run finds it.
                    muster_sys::process::end_by_interrupt();
                }
                printer.note(&format!(
                    "Stopping; what was begun is finished or written down. Go on later with: {continue_with}. \
                     A second Ctrl-C ends at once."
                ));
                first.cancel();
            }
            #[expect(unreachable_code, reason = "gives the task its type")]
            Ok::<(), std::convert::Infallible>(())
        });
        Ok(Self { token, supervisor })
    }

    /// What an interrupted command ends with.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        self.token.is_cancelled().then_some(ExitStatus::INTERRUPTED)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.supervisor.token().cancel();
    }
}
