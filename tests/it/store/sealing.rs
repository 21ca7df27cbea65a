//! Sealing: what the database may not show, and what another master key cannot read.

use offpeak::domain::body::Item;
use offpeak::domain::deferral::{Answer, State};
use offpeak::domain::lane::{Credential, CredentialHeader, Lane};
use offpeak::secret::{MasterKey, Secret, Vault};
use offpeak::store::{ClaimedBatch, Location, NewDeferral, Scope, Settlement, StoreError, Verdict};

use super::fixture::{AMPLE, Fixture, LEASE, NOW, batch_id, call, id, lane, lane_id, vault};

on_both_engines! {
    sealed_bodies_are_nowhere_in_the_database,
    without_sealing_only_credentials_are_hidden,
    another_master_key_opens_nothing_sealed,
    what_was_stored_before_sealing_is_still_read,
}

/// Too short for packing to change them.
const PROMPT: &str = "kumquat-prompt";
const ANSWER: &str = "quince-answer";
const CREDENTIAL: &str = "sk-ant-medlar";

fn marked(number: u128) -> NewDeferral {
    let credential = Credential { header: CredentialHeader::Bearer, secret: Secret::new(CREDENTIAL) };
    let item = Item { text: format!("\"{PROMPT}\""), ..call(number).item };
    NewDeferral { lane: Lane { credential, ..lane() }, item, ..call(number) }
}

/// Makes a call durable and puts it into a batch.
async fn build(db: &Fixture, number: u128) -> ClaimedBatch {
    db.accept([marked(number)]).await;
    let lane = lane_id(&marked(number).lane);
    db.store.build_batch(batch_id(number), lane, AMPLE, NOW.plus(LEASE), LEASE).await.unwrap().unwrap()
}

/// Brings the answer of the call home.
async fn settle(db: &Fixture, number: u128) {
    let answer = Answer { status: 200, body: format!("\"{ANSWER}\"") };
    let verdict = Verdict::Final { state: State::Succeeded, answer, bill: None };
    db.store.settle(batch_id(number), &[Settlement { id: id(number), verdict }], NOW.plus(LEASE)).await.unwrap();
}

/// The call and its answer read back as they were written.
async fn assert_reads_back(db: &Fixture, number: u128) {
    let batch = build(db, number).await;
    let items = db.store.batch_items(batch.claim.batch, None).await.unwrap();
    assert_eq!(items[0].text, marked(number).item.text);
    settle(db, number).await;
    assert_eq!(db.deferral(number).await.answer.unwrap().body, format!("\"{ANSWER}\""));
    let lane = db.store.lane(batch.lane).await.unwrap().unwrap();
    assert!(lane.credential.secret.matches(CREDENTIAL.as_bytes()));
}

/// Everything that the database holds, as bytes.
async fn everything(db: &Fixture) -> Vec<u8> {
    match db.location() {
        Location::Sqlite(path) => {
            let folder = std::fs::read_dir(path.parent().expect("a folder")).unwrap();
            // The write-ahead log among them.
            folder.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
        }
        Location::Postgres(_) => {
            let tables = db.raw.texts("select tablename::text from pg_tables where schemaname = 'public'").await;
            let mut rows = String::new();
            for table in tables {
                rows += &db.raw.texts(&format!("select it::text from {table} as it")).await.join("\n");
            }
            let columns =
                ["lane.credential", "payload.body", "outcome.body"].map(|column| column.split_once('.').unwrap());
            let mut bytes = rows.into_bytes();
            // Columns of bytes are shown as hex there.
            for (table, column) in columns {
                bytes.extend(db.raw.bytes(&format!("select {column} from {table}")).await);
            }
            bytes
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

async fn sealed_bodies_are_nowhere_in_the_database(db: Fixture) {
    let db = db.reopened(true, vault()).await;
    assert_reads_back(&db, 1).await;
    let stored = everything(&db).await;
    assert_eq!([PROMPT, ANSWER, CREDENTIAL].map(|text| holds(&stored, text)), [false, false, false]);
    assert!(holds(&stored, "tenant"), "what is not secret is found this way");
}

async fn without_sealing_only_credentials_are_hidden(db: Fixture) {
    assert_reads_back(&db, 1).await;
    let stored = everything(&db).await;
    assert_eq!([PROMPT, ANSWER, CREDENTIAL].map(|text| holds(&stored, text)), [true, true, false]);
}

async fn another_master_key_opens_nothing_sealed(db: Fixture) {
    let db = db.reopened(true, vault()).await;
    let batch = build(&db, 1).await;
    build(&db, 2).await;
    settle(&db, 2).await;
    let db = db.reopened(true, Vault::new(&MasterKey::random())).await;
    assert!(matches!(db.store.lane(batch.lane).await, Err(StoreError::Sealed)));
    assert!(matches!(db.store.batch_items(batch.claim.batch, None).await, Err(StoreError::Sealed)));
    assert!(matches!(db.store.deferral(id(2), &Scope::All).await, Err(StoreError::Sealed)));
    assert_eq!(db.states([1]).await, [State::Batched], "what is not sealed is still read");
}

async fn what_was_stored_before_sealing_is_still_read(db: Fixture) {
    let batch = build(&db, 1).await;
    build(&db, 2).await;
    settle(&db, 2).await;
    let db = db.reopened(true, vault()).await;
    assert_eq!(db.store.batch_items(batch.claim.batch, None).await.unwrap()[0].text, marked(1).item.text);
    assert_eq!(db.deferral(2).await.answer.unwrap().body, format!("\"{ANSWER}\""));
    let db = db.reopened(false, vault()).await;
    assert_reads_back(&db, 3).await;
}
