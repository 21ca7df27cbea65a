-- Whether its rule lets its prompt be marked for caching; the beginnings of it that can be, from the shortest; where it
-- is marked, and how many bytes more it takes in a batch by that; and which beginning it waits for.
alter table deferral add column cache boolean not null default false;
alter table deferral add column prefixes bytea;
alter table deferral add column cache_place smallint;
alter table deferral add column mark_bytes smallint not null default 0;
alter table deferral add column primed_by bigint;

create index deferral_cacheable on deferral (lane_id, queued_at, id) where state = 'queued' and prefixes is not null;
create index deferral_primed on deferral (lane_id, primed_by) where state = 'queued' and primed_by is not null;

-- Beginnings that a call went ahead with. `batch_id` is the batch that is out with it: the first call's, or one that
-- reads it and so keeps it longer. `until_at` is when its state lapses.
create table prime (
    lane_id uuid not null,
    prefix bigint not null,
    tenant text not null,
    workload text,
    model text not null,
    state text not null check (state in ('sent', 'warm', 'cold')),
    batch_id uuid,
    begun_at timestamptz not null,
    until_at timestamptz not null,
    primary key (lane_id, prefix),
    check (state <> 'sent' or batch_id is not null)
);

create index prime_out on prime (until_at) where batch_id is not null;

-- What the provider's cache did for a batch, and what that gained (below nothing: lost) against no caching at all.
alter table batch add column cache_read_tokens bigint not null default 0;
alter table batch add column cache_write_tokens bigint not null default 0;
alter table batch add column cache_gain_nanousd bigint not null default 0;

-- Whether the gateway had marked it.
alter table entry add column marked boolean not null default false;
create index entry_marked on entry (tenant, workload, settled_at) where marked;

-- Workloads for which caching was switched off, because it lost over so many calls. An empty name stands for none.
create table cache_off (
    tenant text not null,
    workload text not null,
    since_at timestamptz not null,
    until_at timestamptz not null,
    calls bigint not null,
    gain_nanousd bigint not null,
    primary key (tenant, workload)
);
