//! The demo's settings: a store of its own, quick batches, and otherwise what the environment says.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cli::config::environment;
use crate::settings::{Faults, Settings, Sources};

/// What makes a demo quick, where the environment says nothing else.
const DEFAULTS: [(&str, &str); 3] =
    [("OFFPEAK__BATCH__LINGER", "300ms"), ("OFFPEAK__BATCH__POLL_MIN", "100ms"), ("OFFPEAK__BATCH__POLL_MAX", "500ms")];

/// Lines of the log below a warning would drown what is shown.
const LOG: &str = "warn";

/// The settings of a demo with its store in `folder` and the simulator at `upstream`. No file is read.
pub(super) fn load(folder: &Path, upstream: &str) -> Result<Settings, Faults> {
    let environment = laid_out(environment(), folder, upstream);
    Ok(Settings::load(&Sources { file: None, environment })?.settings)
}

fn laid_out(mut environment: BTreeMap<String, String>, folder: &Path, upstream: &str) -> BTreeMap<String, String> {
    // Whatever store and provider this machine is set up for, a demo must not touch them.
    environment.insert("OFFPEAK__UPSTREAM__URL".into(), upstream.to_owned());
    environment.insert("OFFPEAK__STORE__URL".into(), format!("sqlite:{}", folder.join("demo.db").display()));
    environment.insert("OFFPEAK__STORE__MASTER_KEY".into(), format!("file:{}", folder.join("demo.key").display()));
    if !environment.contains_key("RUST_LOG") {
        environment.entry("OFFPEAK__TELEMETRY__LOG".into()).or_insert_with(|| LOG.to_owned());
    }
    for (name, value) in DEFAULTS {
        environment.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    environment
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Location;

    fn loaded(environment: &[(&str, &str)]) -> Result<Settings, Faults> {
        let given = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let environment = laid_out(given, Path::new("/tmp/x"), "http://127.0.0.1:5");
        Ok(Settings::load(&Sources { file: None, environment })?.settings)
    }

    #[test]
    fn the_environment_may_steer_a_demo_but_not_at_real_things() {
        let settings = loaded(&[
            ("DATABASE_URL", "postgres://prod/offpeak"),
            ("OFFPEAK__STORE__URL", "sqlite:/var/lib/offpeak.db"),
            ("OFFPEAK__UPSTREAM__URL", "https://api.anthropic.com"),
            ("OFFPEAK__GATEWAY__LISTEN", "127.0.0.1:0"),
            ("OFFPEAK__BATCH__LINGER", "2s"),
        ])
        .unwrap();
        assert_eq!(settings.store.url, Location::Sqlite("/tmp/x/demo.db".into()));
        assert_eq!(settings.upstream.url.to_string(), "http://127.0.0.1:5/");
        assert_eq!((settings.gateway.listen.port(), settings.admin.listen.port()), (0, 8101));
        assert_eq!(settings.flush.linger, Duration::from_secs(2));
        assert_eq!(settings.poll.min, Duration::from_millis(100));
    }

    #[test]
    fn a_misspelled_setting_is_told() {
        assert!(loaded(&[("OFFPEAK__GATEWAY__LISTN", "127.0.0.1:0")]).is_err());
    }

    #[test]
    fn the_log_is_quiet_unless_asked_for() {
        assert_eq!(loaded(&[]).unwrap().telemetry.log, "warn");
        assert_eq!(loaded(&[("RUST_LOG", "debug")]).unwrap().telemetry.log, "debug");
    }
}
