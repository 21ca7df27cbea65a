//! The schema: the same on both engines but for native types, and safe to bring about more than once.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::future::join_all;
use offpeak::store::{Settings, Store};

use super::fixture::{Fixture, key, vault};
use crate::it::postgres;

on_both_engines! {
    migrating_twice_changes_nothing,
}

/// Tables with their columns: type, whether a value is needed, default, place in the primary key.
const COLUMNS_SQLITE: &str = "
    select held.name || '.' || col.name || ' ' || col.type
        || case when col.\"notnull\" = 1 or col.pk > 0 then ' not null' else '' end
        || coalesce(' default ' || col.dflt_value, '') || case when col.pk > 0 then ' key ' || col.pk else '' end
    from sqlite_schema as held, pragma_table_info(held.name) as col
    where held.type = 'table' and held.name not like '\\_sqlx%' escape '\\'";

const COLUMNS_POSTGRES: &str = "
    select table_name || '.' || column_name || ' '
        || case when data_type in ('uuid', 'bytea') then 'BLOB'
                when data_type in ('timestamp with time zone', 'bigint', 'integer', 'smallint', 'boolean') then 'INTEGER'
                when data_type = 'text' then 'TEXT' else data_type end
        || case is_nullable when 'NO' then ' not null' else '' end
        || coalesce(' default ' || case column_default when 'false' then '0' else column_default end, '')
        || coalesce(' key ' || keys.ordinal_position, '')
    from information_schema.columns
    left join (select table_name, column_name, key.ordinal_position
               from information_schema.key_column_usage as key
               join information_schema.table_constraints using (constraint_name, table_name)
               where constraint_type = 'PRIMARY KEY') as keys using (table_name, column_name)
    where table_schema = 'public' and table_name not like '\\_sqlx%'";

/// Indexes beside primary keys: name (where we gave one), table, columns, uniqueness, predicate.
const INDEXES_SQLITE: &str = "
    select case idx.origin when 'c' then idx.name else '' end || ' on ' || held.name
        || ' (' || (select group_concat(name, ', ') from (select name from pragma_index_info(idx.name) order by seqno)) || ')'
        || case idx.\"unique\" when 1 then ' unique' else '' end
        || case idx.partial when 1 then (select substr(sql, instr(sql, ' where ')) from sqlite_schema
                                         where name = idx.name) else '' end
    from sqlite_schema as held, pragma_index_list(held.name) as idx
    where held.type = 'table' and idx.origin <> 'pk' and held.name not like '\\_sqlx%' escape '\\'";

const INDEXES_POSTGRES: &str = "
    select case when own.conname is null then idx.relname else '' end || ' on ' || held.relname
        || ' (' || (select string_agg(attname, ', ' order by attnum) from pg_attribute where attrelid = idx.oid) || ')'
        || case when indisunique then ' unique' else '' end
        || coalesce(' where ' || pg_get_expr(indpred, indrelid), '')
    from pg_index
    join pg_class as idx on idx.oid = indexrelid
    join pg_class as held on held.oid = indrelid
    left join pg_constraint as own on own.conindid = indexrelid
    where not indisprimary and held.relnamespace = 'public'::regnamespace and held.relname not like '\\_sqlx%'";

/// A predicate without what the engines write in their own ways.
fn plain(index: &str) -> String {
    let same_words = index.replace("::text", "").replace("= ANY (ARRAY[", "in (").replace("])", ")");
    same_words.to_lowercase().chars().filter(|letter| !matches!(letter, '(' | ')')).collect()
}

/// The texts of an engine's migrations by file name.
fn migrations(engine: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let mut texts: Vec<_> = files
        .map(|file| (file.file_name().into_string().unwrap(), std::fs::read_to_string(file.path()).unwrap()))
        .collect();
    texts.sort();
    texts
}

/// The constraints in a migration, in their order.
fn checks(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| Some(line[line.find("check (")?..].trim_end_matches(','))).collect()
}

#[tokio::test]
async fn both_engines_have_the_same_tables() {
    let (sqlite, postgres) = (Fixture::sqlite().await, Fixture::postgres().await);
    let of_sqlite = BTreeSet::from_iter(sqlite.raw.texts(COLUMNS_SQLITE).await);
    let of_postgres = BTreeSet::from_iter(postgres.raw.texts(COLUMNS_POSTGRES).await);
    assert!(of_sqlite.contains("attempt.number INTEGER not null key 2"), "{of_sqlite:#?}");
    assert_eq!(of_sqlite, of_postgres);
}

#[tokio::test]
async fn both_engines_have_the_same_indexes() {
    let (sqlite, postgres) = (Fixture::sqlite().await, Fixture::postgres().await);
    let plain = |indexes: Vec<String>| BTreeSet::from_iter(indexes.iter().map(|index| plain(index)));
    let of_sqlite = plain(sqlite.raw.texts(INDEXES_SQLITE).await);
    let of_postgres = plain(postgres.raw.texts(INDEXES_POSTGRES).await);
    let known = "deferral_queued on deferral lane_id, queued_at, id where state = 'queued'";
    assert!(of_sqlite.contains(known), "{of_sqlite:#?}");
    assert_eq!(of_sqlite, of_postgres);
}

#[tokio::test]
async fn both_engines_have_the_same_migrations() {
    const APPLIED: &str = "select concat_ws(' ', version, description) from _sqlx_migrations order by version";
    let (sqlite, postgres) = (migrations("sqlite"), migrations("postgres"));
    assert!(!sqlite.is_empty());
    assert_eq!(sqlite.len(), postgres.len());
    for ((name, of_sqlite), (its_name, of_postgres)) in sqlite.iter().zip(&postgres) {
        assert_eq!(name, its_name);
        assert_eq!(checks(of_sqlite), checks(of_postgres), "{name}");
    }
    let (sqlite, postgres) = (Fixture::sqlite().await, Fixture::postgres().await);
    assert_eq!(sqlite.raw.texts(APPLIED).await, postgres.raw.texts(APPLIED).await);
}

async fn migrating_twice_changes_nothing(db: Fixture) {
    db.accept([super::fixture::call(1)]).await;
    let applied = db.raw.count("_sqlx_migrations").await;
    db.store.migrate().await.unwrap();
    assert_eq!(db.raw.count("_sqlx_migrations").await, applied);
    assert_eq!(db.raw.count("deferral").await, 1);
    db.store.ping().await.unwrap();
}

#[tokio::test]
async fn replicas_that_start_together_all_find_the_schema() {
    // Who meets whom, and where, is chance.
    for _ in 0..4 {
        let database = postgres::database().await;
        let settings = Settings {
            url: database.url().parse().unwrap(),
            master_key: offpeak::secret::KeySource::Given(key()),
            encrypt_bodies: false,
        };
        let replicas = join_all((0..6).map(|_| Store::open(&settings, vault()))).await;
        let replicas: Vec<_> = replicas.into_iter().map(Result::unwrap).collect();
        for outcome in join_all(replicas.iter().map(Store::migrate)).await {
            outcome.unwrap();
        }
        for replica in replicas {
            replica.ping().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_store_without_its_schema_is_not_ready() {
    let database = postgres::database().await;
    let settings = Settings {
        url: database.url().parse().unwrap(),
        master_key: offpeak::secret::KeySource::Given(key()),
        encrypt_bodies: false,
    };
    Store::open(&settings, vault()).await.unwrap().ping().await.unwrap_err();
}
