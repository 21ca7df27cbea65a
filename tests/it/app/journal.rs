//! The journal: errors that the app logs while a test runs on this thread.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// Listens from its opening until it is dropped.
pub(super) struct Journal {
    errors: Errors,
    is_forgiving: AtomicBool,
    _listening: DefaultGuard,
}

impl Journal {
    pub(super) fn open() -> Self {
        let errors = Errors::default();
        let listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(errors.clone()));
        Self { errors, is_forgiving: AtomicBool::new(false), _listening: listening }
    }

    /// Errors are what the test wants.
    pub(super) fn forgive(&self) {
        self.is_forgiving.store(true, Ordering::Relaxed);
    }

    /// The errors that nobody wanted.
    pub(super) fn errors(&self) -> Vec<String> {
        if self.is_forgiving.load(Ordering::Relaxed) { Vec::new() } else { self.errors.0.lock().unwrap().clone() }
    }
}

#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Errors {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() == Level::ERROR && metadata.target().starts_with("offpeak") {
            let mut line = Line(format!("logged by {}:", metadata.target()));
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}
