//! Placing: which workload a call belongs to. Those that are known are kept in memory; a new one is written down before
//! its first call is, by one replica at a time.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::domain::tally::Recorded;
use crate::domain::workload::{NewWorkload, WorkloadId, WorkloadKind};
use crate::inventory::fingerprint::Traits;
use crate::inventory::keyed::Keyed;
use crate::inventory::recent::Recent;
use crate::inventory::sketch::Sketch;
use crate::store::{Store, StoreError};

/// Workloads of one tenant that nobody has named. Calls beyond them are counted together, so that prompts which no
/// template explains make no list that nobody reads.
pub(super) const WORKLOADS_MAX: usize = 200;

/// Workloads of one tenant that have names, which somebody may make up for each run. Calls beyond them are counted with
/// the others, too.
const NAMES_MAX: usize = 1_000;

/// Workloads kept in memory, of all tenants: some 20 MB with their sketches.
const KNOWN_MAX: usize = 20_000;

/// Named workloads that are remembered to be there, of all tenants.
const NAMED_MAX: usize = 100_000;

/// How often it is tried to add workloads of a tenant for whom other replicas do so as well.
const ATTEMPTS: usize = 5;

/// A call that has no workload yet.
#[derive(Clone)]
pub(super) struct Pending {
    pub(super) recorded: Recorded,
    pub(super) belongs: Belongs,
}

impl Pending {
    fn tenant(&self) -> &str {
        &self.recorded.record.tenant
    }
}

/// What its workload follows from.
#[derive(Clone)]
pub(super) enum Belongs {
    /// The name that a header or a rule gave it.
    Named(String),
    /// It was known when the call was read.
    Known(WorkloadId),
    /// What the call looks like.
    Alike(Box<Look>),
    /// Nothing, since it was not read.
    Unread,
}

/// What a call looks like.
#[derive(Clone)]
pub(super) struct Look {
    pub(super) family: String,
    pub(super) client: String,
    /// What the same prompt of the same caller is known by.
    pub(super) exact: u64,
    pub(super) traits: Traits,
}

/// The workloads that are known.
#[derive(Default)]
pub(super) struct Places {
    /// Those that nobody has named, by tenant.
    alike: HashMap<String, Vec<Known>>,
    /// Those that have names, by tenant.
    named: HashMap<String, HashSet<WorkloadId>>,
    /// Those for what is left over that are there.
    left_over: HashSet<WorkloadId>,
}

struct Known {
    id: WorkloadId,
    family: String,
    client: String,
    sketch: Sketch,
}

/// What placing needs.
pub(super) struct Placing<'a> {
    pub(super) store: &'a Store,
    pub(super) keyed: &'a Keyed,
    pub(super) recent: &'a Recent,
}

/// A workload's id and its name.
pub(super) type Place = (WorkloadId, String);

impl Placing<'_> {
    /// The workload of each call, in their order.
    pub(super) async fn place(&self, places: &mut Places, pending: &[Pending]) -> Result<Vec<Place>, StoreError> {
        let mut chosen: Vec<Option<WorkloadId>> = vec![None; pending.len()];
        let mut alike: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, call) in pending.iter().enumerate() {
            match &call.belongs {
                Belongs::Alike(_) => alike.entry(call.tenant()).or_default().push(index),
                Belongs::Known(id) => chosen[index] = Some(*id),
                Belongs::Named(_) => places.load_names(self.store, call.tenant()).await?,
                Belongs::Unread => {}
            }
        }
        for (tenant, indexes) in alike {
            self.place_alike(places, tenant, pending, &indexes, &mut chosen).await?;
        }
        let mut fixed = BTreeMap::new();
        let mut placed = Vec::with_capacity(pending.len());
        for (call, chosen) in pending.iter().zip(chosen) {
            let place = chosen.map(|id| (id, id.to_string())).unwrap_or_else(|| self.fixed(places, call, &mut fixed));
            placed.push(place);
        }
        let fixed: Vec<NewWorkload> = fixed.into_values().collect();
        self.store.name_workloads(&fixed).await?;
        fixed.iter().for_each(|new| places.remember(new));
        Ok(placed)
    }

    /// Places those calls of a tenant that look like something; `None` stays where there is no place left.
    async fn place_alike(
        &self,
        places: &mut Places,
        tenant: &str,
        pending: &[Pending],
        indexes: &[usize],
        chosen: &mut [Option<WorkloadId>],
    ) -> Result<(), StoreError> {
        for attempt in 1..=ATTEMPTS {
            let mut known = places.take(self.store, tenant).await?;
            let there = known.len();
            // Who never comes to it adds none, and takes what is like his or what is left over.
            let most = if attempt == ATTEMPTS { there } else { WORKLOADS_MAX };
            let mut new = Vec::new();
            for index in indexes {
                chosen[*index] = self.choose(&mut known, &mut new, most, &pending[*index]);
            }
            if self.store.add_workloads(tenant, there, &new).await? {
                places.alike.insert(tenant.to_owned(), known);
                break;
            }
        }
        for index in indexes {
            if let (Belongs::Alike(look), Some(id)) = (&pending[*index].belongs, chosen[*index]) {
                self.recent.remember(look.exact, id);
            }
        }
        Ok(())
    }

    /// A place that nothing can change: that of a name, or of what is left over.
    fn fixed(&self, places: &Places, call: &Pending, new: &mut BTreeMap<WorkloadId, NewWorkload>) -> Place {
        let tenant = call.tenant();
        let left_over = |kind: WorkloadKind| {
            let id = self.keyed.workload(&[tenant, kind.as_str()]);
            (id, id.to_string(), kind)
        };
        let (id, name, kind) = match &call.belongs {
            Belongs::Named(name) => {
                // Who gives the name that nobody gave means the one that has it.
                let id = WorkloadId::parse(name).unwrap_or_else(|| self.keyed.workload(&[tenant, "named", name]));
                let is_new = |new: &&NewWorkload| new.tenant == tenant && new.kind == WorkloadKind::Named;
                let names = places.names(tenant).map_or(0, HashSet::len) + new.values().filter(is_new).count();
                let has_place = names < NAMES_MAX || new.contains_key(&id) || places.has(tenant, id);
                if has_place { (id, name.clone(), WorkloadKind::Named) } else { left_over(WorkloadKind::Other) }
            }
            Belongs::Unread => left_over(WorkloadKind::Unread),
            Belongs::Alike(_) | Belongs::Known(_) => left_over(WorkloadKind::Other),
        };
        if !places.has(tenant, id) {
            new.entry(id).or_insert_with(|| NewWorkload {
                id,
                tenant: tenant.to_owned(),
                name: name.clone(),
                kind,
                family: String::new(),
                client: String::new(),
                sketch: None,
                preview: None,
                seen_at: call.recorded.record.at,
            });
        }
        (id, name)
    }

    /// The workload of a call that nobody has named: its template's own, or one that is like it, or a new one; none where
    /// there are too many.
    fn choose(
        &self,
        known: &mut Vec<Known>,
        new: &mut Vec<NewWorkload>,
        most: usize,
        call: &Pending,
    ) -> Option<WorkloadId> {
        let Belongs::Alike(look) = &call.belongs else { return None };
        let Look { family, client, traits, .. } = &**look;
        let tenant = call.tenant();
        let own = self.keyed.workload(&[tenant, "alike", family, client, &format!("{:016x}", traits.template)]);
        if known.iter().any(|one| one.id == own) {
            return Some(own);
        }
        let likeness = |one: &Known| {
            let is_near = one.family == *family && one.client == *client;
            is_near.then(|| one.sketch.likeness(&traits.sketch)).flatten().map(|likeness| (likeness, one.id))
        };
        // Of two that are as like the older one is it, which stands first.
        let nearest = known.iter().filter_map(likeness).reduce(|best, next| if next.0 > best.0 { next } else { best });
        if let Some((_, id)) = nearest {
            return Some(id);
        }
        if known.len() >= most {
            return None;
        }
        let (family, client, sketch) = (family.clone(), client.clone(), traits.sketch.clone());
        new.push(NewWorkload {
            id: own,
            tenant: tenant.to_owned(),
            name: own.to_string(),
            kind: WorkloadKind::Alike,
            family: family.clone(),
            client: client.clone(),
            sketch: Some(sketch.to_bytes()),
            preview: traits.preview.clone(),
            seen_at: call.recorded.record.at,
        });
        known.push(Known { id: own, family, client, sketch });
        Some(own)
    }
}

impl Places {
    fn names(&self, tenant: &str) -> Option<&HashSet<WorkloadId>> {
        self.named.get(tenant)
    }

    /// Whether a workload is known to be written down.
    fn has(&self, tenant: &str, id: WorkloadId) -> bool {
        self.left_over.contains(&id) || self.names(tenant).is_some_and(|names| names.contains(&id))
    }

    /// A workload is written down now.
    fn remember(&mut self, new: &NewWorkload) {
        if new.kind != WorkloadKind::Named {
            self.left_over.insert(new.id);
        } else if let Some(names) = self.named.get_mut(&new.tenant) {
            names.insert(new.id);
        }
    }

    /// Reads the names of a tenant, if they are not in memory.
    async fn load_names(&mut self, store: &Store, tenant: &str) -> Result<(), StoreError> {
        if self.named.contains_key(tenant) {
            return Ok(());
        }
        if self.named.values().map(HashSet::len).sum::<usize>() + self.left_over.len() >= NAMED_MAX {
            self.named.clear();
            self.left_over.clear();
        }
        let names = store.named_workloads(tenant).await?.into_iter().collect();
        self.named.insert(tenant.to_owned(), names);
        Ok(())
    }

    /// Those of a tenant, read from the store if they are not in memory; whoever takes them puts them back.
    async fn take(&mut self, store: &Store, tenant: &str) -> Result<Vec<Known>, StoreError> {
        if let Some(known) = self.alike.remove(tenant) {
            return Ok(known);
        }
        if self.alike.values().map(Vec::len).sum::<usize>() >= KNOWN_MAX {
            self.alike.clear();
        }
        let stored = store.known_workloads(tenant).await?;
        let known = |one: crate::store::KnownWorkload| Known {
            id: one.id,
            family: one.family,
            client: one.client,
            sketch: Sketch::from_bytes(&one.sketch.unwrap_or_default()),
        };
        Ok(stored.into_iter().map(known).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::CallRecord;
    use crate::inventory::fingerprint::Prompt;
    use crate::secret::{KeySource, MasterKey, Vault};
    use crate::store::{Location, Settings};

    const SYSTEM: &str = "You answer the letters of customers of a shop for garden tools in a friendly and brief way, you \
        never promise a refund, and you write in the language of the letter. The customer is";

    async fn store(folder: &std::path::Path) -> Store {
        let key = MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let url = Location::Sqlite(folder.join("test.db"));
        let settings = Settings { url, master_key: KeySource::Given(key.clone()), encrypt_bodies: false };
        let store = Store::open(&settings, Vault::new(&key)).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    fn call(system: &str, exact: u64) -> Pending {
        let prompt = Prompt { system: system.to_owned(), tools: Vec::new() };
        let traits = Traits::of(&prompt, 0, &Keyed::test());
        let look = Look { family: "claude-haiku".into(), client: "c".into(), exact, traits };
        let record = CallRecord { tenant: "t".into(), ..CallRecord::default() };
        let recorded = Recorded { record, id: 0, workload: WorkloadId(0), is_unread: false, charges: Vec::new() };
        Pending { recorded, belongs: Belongs::Alike(Box::new(look)) }
    }

    async fn placed(store: &Store, places: &mut Places, calls: &[Pending]) -> Vec<WorkloadId> {
        let (keyed, recent) = (Keyed::test(), Recent::default());
        let placing = Placing { store, keyed: &keyed, recent: &recent };
        placing.place(places, calls).await.unwrap().into_iter().map(|(id, _)| id).collect()
    }

    #[tokio::test]
    async fn replicas_agree_on_a_workload_whoever_met_it_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        let (mut one, mut two) = (Places::default(), Places::default());
        // Both have looked when there was none of it.
        let other = call("Translate the recipe, and keep every amount as it stands there, please.", 1);
        let known = placed(&store, &mut one, std::slice::from_ref(&other)).await;
        assert_eq!(placed(&store, &mut two, std::slice::from_ref(&other)).await, known);
        let of_one = placed(&store, &mut one, &[call(&format!("{SYSTEM} Ann Smith of Leeds"), 2)]).await;
        let of_two = placed(&store, &mut two, &[call(&format!("{SYSTEM} Kofi from Accra in Ghana"), 3)]).await;
        assert_eq!(of_one, of_two);
        // The same first prompt would have had the same id anywhere.
        let elsewhere = self::store(&folder.path().join("elsewhere")).await;
        let first = [call(&format!("{SYSTEM} Ann Smith of Leeds"), 2)];
        assert_eq!(placed(&elsewhere, &mut Places::default(), &first).await, of_one);
    }

    #[tokio::test]
    async fn names_without_end_share_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        let named = |number: usize| Pending { belongs: Belongs::Named(format!("run-{number}")), ..call("", 0) };
        let calls: Vec<Pending> = (0..NAMES_MAX + 50).chain([3]).map(named).collect();
        let mut places = Places::default();
        let found = placed(&store, &mut places, &calls).await;
        assert_eq!(found.iter().collect::<HashSet<_>>().len(), NAMES_MAX + 1);
        assert_eq!(found[3], found[NAMES_MAX + 50]);
        // The same after a restart.
        assert_eq!(placed(&store, &mut Places::default(), &calls[NAMES_MAX..]).await, found[NAMES_MAX..]);
        assert_eq!(store.named_workloads("t").await.unwrap().len(), NAMES_MAX);
    }

    #[tokio::test]
    async fn beyond_the_limit_calls_share_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        let words = ["ash", "bay", "elm", "fir", "oak", "yew", "box"];
        let system = |number: usize| -> String {
            (0..30).map(|place| words[(number >> (place % 5 * 2)) % 7].repeat(1 + (number + place) % 6) + " ").collect()
        };
        let calls: Vec<Pending> = (0..400).map(|number| call(&system(number), number as u64)).collect();
        let mut places = Places::default();
        let found: HashSet<WorkloadId> = placed(&store, &mut places, &calls).await.into_iter().collect();
        assert!(found.len() <= WORKLOADS_MAX + 1, "{}", found.len());
        assert!(store.known_workloads("t").await.unwrap().len() <= WORKLOADS_MAX);
    }
}
