//! The sections that may be given any number of times: keys, receivers and budgets.

use super::reader::Reader;
use crate::deliver::Receiver;
use crate::domain::budget::{Action, Budget, Per};
use crate::intake::Key;

/// Tenants that hold no key of ours get names that begin like this; no key may take one of those.
const PSEUDONYM_PREFIX: &str = "tnt_";

/// Reads the `[[key]]` sections.
pub(super) fn keys(read: &mut Reader<'_>) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for item in read.items("key") {
        let [name_path, secret_path, upstream_path] = ["name", "secret", "upstream"].map(|key| format!("{item}.{key}"));
        let name = read.name(&name_path);
        if name.starts_with(PSEUDONYM_PREFIX) {
            let problem = format!("expected a name that does not begin with {PSEUDONYM_PREFIX}, as pseudonyms do");
            read.fault(&name_path, problem);
        }
        let [secret, upstream] = [&secret_path, &upstream_path].map(|path| read.secret(path));
        // Without one of them a fault has been told.
        let (Some(secret), Some(upstream)) = (secret, upstream) else { continue };
        if keys.iter().any(|other| other.secret == secret) {
            read.fault(&secret_path, "another [[key]] has this secret; every key needs its own");
        }
        keys.push(Key { name, secret, upstream });
    }
    names_are_unique(read, "key");
    keys
}

/// Reads the `[[receiver]]` sections.
pub(super) fn receivers(read: &mut Reader<'_>) -> Vec<Receiver> {
    let mut receivers = Vec::new();
    for item in read.items("receiver") {
        let name = read.name(&format!("{item}.name"));
        let url = read.target(&format!("{item}.url"));
        let keys = read.signing_keys(&format!("{item}.secret"));
        // Without a URL a fault has been told.
        receivers.extend(url.map(|url| Receiver { name, url, keys }));
    }
    names_are_unique(read, "receiver");
    receivers
}

/// Reads the `[[budget]]` sections.
pub(super) fn budgets(read: &mut Reader<'_>) -> Vec<Budget> {
    let mut budgets = Vec::new();
    for item in read.items("budget") {
        let path = |key: &str| format!("{item}.{key}");
        let name = read.name(&path("name"));
        let [tenant, workload] = ["tenant", "workload"].map(|key| {
            let path = path(key);
            read.is_given(&path).then(|| read.name(&path))
        });
        let per = read.choice(&path("per"), &[("day", Per::Day), ("month", Per::Month)], Per::Day);
        let limit = read.dollars(&path("limit"));
        let actions = [("warn", Action::Warn), ("defer", Action::Defer), ("refuse", Action::Refuse)];
        let action = read.choice(&path("action"), &actions, Action::Warn);
        budgets.push(Budget { name, tenant, workload, per, limit, action });
    }
    names_are_unique(read, "budget");
    budgets
}

/// Tells each name of a list that another item of it has already.
pub(super) fn names_are_unique(read: &mut Reader<'_>, list: &str) {
    let paths: Vec<_> = read.items(list).iter().map(|item| format!("{item}.name")).collect();
    for (index, path) in paths.iter().enumerate() {
        let name = read.peek(path);
        if !name.is_empty() && paths[..index].iter().any(|earlier| read.peek(earlier) == name) {
            let problem = format!("another [[{list}]] is named \"{name}\"; names are unique");
            read.fault(path, problem);
        }
    }
}
