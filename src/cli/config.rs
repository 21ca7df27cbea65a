//! The `--config` argument of the commands that read the settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::settings::Sources;

/// Which settings file to read.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// Settings file [default: $OFFPEAK_CONFIG, else config/offpeak.toml if there is one]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl ConfigArgs {
    /// What the settings are read from; the environment is this process's.
    pub(super) fn sources(self) -> Sources {
        Sources::find(self.config, environment())
    }
}

/// The environment of this process.
pub(super) fn environment() -> BTreeMap<String, String> {
    // A name or a value that is not Unicode is no setting's; what replaces it will not read as one.
    let unicode = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (unicode(name), unicode(value))).collect()
}
