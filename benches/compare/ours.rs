//! Our side of a comparison: the store and the workers on one database, run by hand.

use std::sync::Arc;
use std::time::Duration;

use offpeak::clock::Clock;
use offpeak::domain::deferral::OnDeadline;
use offpeak::domain::id::DeferralId;
use offpeak::domain::lane::{Credential, CredentialHeader, Lane};
use offpeak::domain::price::{PriceTable, Prices};
use offpeak::flush::{self, Flush};
use offpeak::ingest::{self, Ingest};
use offpeak::nudge::{Nudge, Settled};
use offpeak::provider::{self, Provider};
use offpeak::secret::{KeySource, MasterKey, Secret, Vault};
use offpeak::store::{Location, NewDeferral, Settings, Store};
use tokio::task::JoinSet;

use crate::calls::Texts;

/// The default of `batch.max_requests`.
pub(crate) const BATCH_CALLS: usize = 10_000;

/// 32 bytes in base64: each process of a run must open what another has sealed.
const MASTER_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Callers that fill a database at a time.
const FILLERS: usize = 500;

const LEASE: Duration = Duration::from_secs(30);

/// An open store with its workers.
pub(crate) struct Ours {
    pub(crate) store: Store,
    pub(crate) flush: Flush,
    pub(crate) ingest: Ingest,
    clock: Clock,
}

impl Ours {
    /// Opens the store at `url`, brings its schema up to date, and points the workers at `upstream`.
    pub(crate) async fn open(url: &str, upstream: &str) -> anyhow::Result<Self> {
        let url: Location = url.parse().map_err(|_| anyhow::anyhow!("no place of a store"))?;
        let key = MasterKey::parse(MASTER_KEY)?;
        let vault = Vault::new(&key);
        let store =
            Store::open(&Settings { url, master_key: KeySource::Given(key), encrypt_bodies: false }, vault).await?;
        store.migrate().await?;
        let clock = Clock::system();
        store.make_room_ahead(clock.now()).await?;
        let provider =
            Provider::new(&provider::Settings { url: upstream.parse()?, timeout: Duration::from_secs(600) })?;
        let flushing = flush::Settings {
            linger: Duration::ZERO,
            max_requests: BATCH_CALLS,
            max_bytes: 200_000_000,
            reconcile_wait: Duration::from_secs(120),
            lease: LEASE,
        };
        let ingesting = ingest::Settings { max_attempts: 5, on_deadline: OnDeadline::Live, lease: LEASE };
        let (nudge, settled) = (Nudge::default(), Settled::default());
        let prices = Prices::new(PriceTable::built_in()?);
        let (ours, same) = (store.clone(), prices.clone());
        let flush = Flush::new(ours, provider.clone(), clock.clone(), flushing, same, nudge, settled.clone());
        let ingest = Ingest::new(store.clone(), provider, clock.clone(), ingesting, prices, settled);
        Ok(Self { store, flush, ingest, clock })
    }

    /// A call to be accepted, and nothing that would slow it down but its body.
    pub(crate) fn call(&self, texts: &Texts, number: usize) -> NewDeferral {
        let now = self.clock.now();
        NewDeferral {
            id: DeferralId::new(now),
            lane: lane(),
            item: texts.prompt(number).clone(),
            workload: Some("nightly".to_owned()),
            reference: None,
            group: None,
            callback: None,
            client: None,
            rule: None,
            idempotency_key: None,
            retries: 0,
            accepted_at: now,
            deadline: now.plus(Duration::from_secs(24 * 60 * 60)),
            caching: None,
        }
    }

    /// Accepts so many calls, `callers` at a time, each of which comes again as soon as it is answered.
    pub(crate) async fn accept(
        self: &Arc<Self>,
        texts: &Arc<Texts>,
        calls: usize,
        callers: usize,
    ) -> anyhow::Result<()> {
        let mut running = JoinSet::new();
        for caller in 0..callers {
            let (ours, texts) = (Arc::clone(self), Arc::clone(texts));
            running.spawn(async move {
                for number in (caller..calls).step_by(callers) {
                    ours.store.accept(ours.call(&texts, number)).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        Ok(())
    }

    /// Fills the queue.
    pub(crate) async fn fill(self: &Arc<Self>, texts: &Arc<Texts>, calls: usize) -> anyhow::Result<()> {
        self.accept(texts, calls, FILLERS).await
    }

    /// Builds and sends until nothing is queued.
    pub(crate) async fn flush_all(&self) -> anyhow::Result<()> {
        while self.flush.build_due().await? {}
        while self.flush.send_due().await? {}
        Ok(())
    }

    /// Brings home whatever has ended.
    pub(crate) async fn ingest_all(&self) -> anyhow::Result<()> {
        while self.ingest.run().await? {}
        Ok(())
    }

    /// What the poll worker would find: every batch that was sent has ended.
    pub(crate) async fn end_all(&self) -> anyhow::Result<()> {
        // Sent batches are first looked at a moment later.
        let later = self.clock.now().plus(Duration::from_secs(60));
        let submitted = offpeak::domain::batch::BatchState::Submitted;
        for batch in self.store.claim_batches(submitted, later, LEASE, 1_000).await? {
            self.store.batch_ended(batch.claim, self.clock.now()).await?;
        }
        Ok(())
    }
}

fn lane() -> Lane {
    Lane {
        tenant: "bench".to_owned(),
        credential: Credential { header: CredentialHeader::ApiKey, secret: Secret::new("sk-ant-bench") },
        version: Some("2023-06-01".to_owned()),
        betas: String::new(),
        workspace_id: None,
        user_profile_id: None,
    }
}
