//! The journal: what the app logs while a test runs on this thread.

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
    errors: Lines,
    warnings: Lines,
    news: Lines,
    is_forgiving: AtomicBool,
    _listening: DefaultGuard,
}

impl Journal {
    pub(super) fn open() -> Self {
        let (errors, warnings, news) = (Lines::of(Level::ERROR), Lines::of(Level::WARN), Lines::of(Level::INFO));
        let listener = tracing_subscriber::registry().with(errors.clone()).with(warnings.clone()).with(news.clone());
        let listening = tracing::subscriber::set_default(listener);
        Self { errors, warnings, news, is_forgiving: AtomicBool::new(false), _listening: listening }
    }

    /// Errors are what the test wants.
    pub(super) fn forgive(&self) {
        self.is_forgiving.store(true, Ordering::Relaxed);
    }

    /// The errors that nobody wanted.
    pub(super) fn errors(&self) -> Vec<String> {
        if self.is_forgiving.load(Ordering::Relaxed) { Vec::new() } else { self.errors.all() }
    }

    /// The warnings.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.all()
    }

    /// What is neither an error nor a warning.
    pub(super) fn news(&self) -> Vec<String> {
        self.news.all()
    }
}

/// What was logged at one level.
#[derive(Clone)]
struct Lines {
    level: Level,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Lines {
    fn of(level: Level) -> Self {
        Self { level, lines: Arc::default() }
    }

    fn all(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() == self.level && metadata.target().starts_with("offpeak") {
            let mut line = Line(format!("logged by {}:", metadata.target()));
            event.record(&mut line);
            self.lines.lock().unwrap().push(line.0);
        }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}
