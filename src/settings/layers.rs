//! The layers that settings lie in: the manual's defaults, over them the file, over that the environment.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::Sources;
use super::fault::{Fault, Faults, Origin};
use super::known::{Known, PREFIX, Section, variable_of};
use super::quoted;
use super::value::{Raw, Value};

/// Variables of other people's habit that are settings of ours; a variable with our own name wins over them.
const ALIASES: [(&str, &str); 2] = [("DATABASE_URL", "store.url"), ("RUST_LOG", "telemetry.log")];

/// What is in force, not yet read.
pub(super) struct Layers {
    /// By path: `batch.linger`, `key[0].name`.
    pub(super) values: BTreeMap<String, Value>,
    /// Where each `key[0]` begins.
    pub(super) items: BTreeMap<String, Origin>,
    /// The file, and which part of it each value is.
    file: Option<File>,
    spans: BTreeMap<String, Range<usize>>,
    /// Names that nobody knows, and sections of a wrong form.
    pub(super) faults: Vec<Fault>,
}

impl Layers {
    /// Lays all three over each other. What is not even TOML is told at once, since nothing else in it can be judged.
    pub(super) fn lay(sources: &Sources) -> Result<(Known, Self), Faults> {
        let known = Known::from_manual();
        let of_manual =
            |(path, raw): &(String, Raw)| (path.clone(), Value { raw: raw.clone(), origin: Origin::Default });
        let values = known.defaults.iter().map(of_manual).collect();
        let (items, spans) = (BTreeMap::new(), BTreeMap::new());
        let mut layers = Self { values, items, file: None, spans, faults: Vec::new() };
        if let Some(path) = &sources.file {
            layers.lay_file(&known, path).map_err(Faults::new)?;
        }
        layers.lay_environment(&known, &sources.environment);
        Ok((known, layers))
    }

    fn lay_file(&mut self, known: &Known, path: &Path) -> Result<(), Vec<Fault>> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let problem = format!("cannot be read: {error}; check --config, or OFFPEAK_CONFIG");
            vec![Fault { origin: Origin::File { path: path.into(), at: None }, key: String::new(), problem }]
        })?;
        let file = File { path: path.into(), text };
        let (root, errors) = DeTable::parse_recoverable(&file.text);
        if !errors.is_empty() {
            return Err(errors.iter().map(|error| file.not_toml(error)).collect());
        }
        for (name, value) in root.get_ref() {
            self.lay_section(known, &file, name.get_ref(), value.get_ref(), file.origin(name.span().start));
        }
        drop(root);
        self.file = Some(file);
        Ok(())
    }

    /// Where a character of the text that `key` was given stands.
    pub(super) fn within(&self, key: &str, character: usize) -> Option<Origin> {
        let (file, span) = (self.file.as_ref()?, self.spans.get(key)?);
        let raw = file.text.get(span.clone())?;
        Some(file.origin(span.start + quoted::place(raw, character)))
    }

    fn lay_section(&mut self, known: &Known, file: &File, name: &str, value: &DeValue<'_>, at: Origin) {
        let Some(section) = known.section(name) else {
            return self.fault(at, name, format!("unknown section; {}", known.instead_of_section(name)));
        };
        match value {
            DeValue::Table(table) if !section.list => self.lay_table(known, file, name, section, table),
            DeValue::Array(items) if section.list && items.iter().all(|item| item.get_ref().is_table()) => {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{name}[{index}]");
                    self.items.insert(path.clone(), file.origin(item.span().start));
                    let table = item.get_ref().as_table();
                    table.into_iter().for_each(|table| self.lay_table(known, file, &path, section, table));
                }
            }
            _ if section.list => self.fault(at, name, format!("expected sections that begin with [[{name}]]")),
            _ => self.fault(at, name, format!("expected one section that begins with [{name}]")),
        }
    }

    fn lay_table(&mut self, known: &Known, file: &File, prefix: &str, section: &Section, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = format!("{prefix}.{}", key.get_ref());
            if section.keys.iter().any(|name| name == key.get_ref()) {
                let origin = file.origin(value.span().start);
                self.spans.insert(path.clone(), value.span());
                self.values.insert(path, Value { raw: Raw::of_toml(value.get_ref()), origin });
            } else {
                let instead = known.instead_of_key(section, key.get_ref());
                self.fault(file.origin(key.span().start), &path, format!("unknown key; {instead}"));
            }
        }
    }

    fn lay_environment(&mut self, known: &Known, environment: &BTreeMap<String, String>) {
        // Compose files pass a variable on as an empty one when it is not set.
        let aliases = ALIASES.iter().filter_map(|(name, path)| Some((*name, *path, environment.get(*name)?)));
        for (name, path, text) in aliases.filter(|(_, _, text)| !text.is_empty()) {
            self.lay_variable(name, text, known.find(|known| known == path));
        }
        for (name, text) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            let setting = known.find(|path| variable_of(path) == *name);
            if setting.is_none() {
                let problem = format!("unknown setting; {}", known.instead_of_variable(name));
                self.fault(Origin::Environment(name.clone()), "", problem);
            }
            self.lay_variable(name, text, setting);
        }
    }

    fn lay_variable(&mut self, name: &str, text: &str, setting: Option<&(String, Raw)>) {
        if let Some((path, default)) = setting {
            let value = Value { raw: Raw::of_environment(text, default), origin: Origin::Environment(name.to_owned()) };
            self.values.insert(path.clone(), value);
        }
    }

    fn fault(&mut self, origin: Origin, key: &str, problem: String) {
        self.faults.push(Fault { origin, key: key.to_owned(), problem });
    }
}

/// A settings file and its text, which places are counted in.
struct File {
    path: Arc<Path>,
    text: String,
}

impl File {
    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
        Origin::File { path: self.path.clone(), at: Some((line, column)) }
    }

    fn not_toml(&self, error: &toml::de::Error) -> Fault {
        let origin = self.origin(error.span().map_or(0, |span| span.start));
        Fault { origin, key: String::new(), problem: format!("not TOML: {}", error.message().replace('\n', "; ")) }
    }
}
