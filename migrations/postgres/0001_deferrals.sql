-- What the headers of a batch fix for all its calls, the sealed credential among it.
create table lane (
    id uuid primary key,
    tenant text not null,
    credential bytea not null,
    credential_header text not null check (credential_header in ('x-api-key', 'authorization')),
    anthropic_version text,
    betas text not null,
    workspace_id text,
    user_profile_id text,
    used_at timestamptz not null,
    -- Until then nothing is sent with this lane's credential; why, and how often in a row.
    paused_until timestamptz,
    pause_reason text,
    -- What the provider answered, where it refuses the credential itself: its calls fail with that at their deadline.
    pause_status integer,
    pause_error text,
    pauses integer not null default 0,
    -- The same for calls that are rescued live.
    live_paused_until timestamptz,
    live_pauses integer not null default 0
);

create table batch (
    id uuid primary key,
    lane_id uuid not null,
    tenant text not null,
    state text not null check (state in ('building', 'uncertain', 'submitted', 'ended', 'ingested', 'void')),
    provider_id text unique,
    item_count integer not null check (item_count > 0),
    item_bytes bigint not null,
    built_at timestamptz not null,
    sent_at timestamptz,
    -- Since when nobody waits for the answer to its creation any more.
    doubted_at timestamptz,
    submitted_at timestamptz,
    ended_at timestamptz,
    ingested_at timestamptz,
    cancel_requested boolean not null default false,
    -- Found in the provider's list rather than answered to its creation: to be confirmed by its results.
    adopted boolean not null default false,
    -- When a worker next looks. Whoever claims it moves this on: that is the lease, and it lapses by itself.
    due_at timestamptz not null,
    -- Goes up with every claim: who comes back late with an older one changes nothing.
    fence bigint not null,
    looks integer not null default 0,
    check (state in ('building', 'void') or sent_at is not null),
    check (state not in ('submitted', 'ended', 'ingested') or provider_id is not null)
);

create index batch_due on batch (state, due_at);
create index batch_lane on batch (lane_id) where state in ('building', 'uncertain', 'submitted', 'ended');

-- Batches of the provider that were taken for ours and turned out to be somebody else's.
create table mismatch (
    batch_id uuid not null,
    provider_id text not null,
    primary key (batch_id, provider_id)
);

-- The narrow, changing part of a deferral. No foreign key leads from here to its lane or batch: they are
-- checked by the transactions that write them, and a check for each row costs a third of an accept.
create table deferral (
    id uuid primary key,
    tenant text not null,
    lane_id uuid,
    state text not null check (state in ('queued', 'batched', 'rescuing', 'succeeded', 'failed', 'expired', 'canceled')),
    model text not null,
    workload text,
    reference text,
    group_name text,
    idempotency_key text,
    body_hash bytea not null,
    body_bytes integer not null,
    accepted_at timestamptz not null,
    deadline_at timestamptz not null,
    -- From when on it may be put into a batch, which is also its place in the queue.
    queued_at timestamptz not null,
    batch_id uuid,
    attempts integer not null default 0,
    -- When a live call for it is next due, which is also the lease of whoever makes it; how often it was claimed.
    rescue_due_at timestamptz,
    rescue_fence bigint not null default 0,
    cancel_requested boolean not null default false,
    completed_at timestamptz,
    served_by text check (served_by in ('batch', 'live')),
    check ((state in ('succeeded', 'failed', 'expired', 'canceled')) = (completed_at is not null)),
    check (completed_at is not null or lane_id is not null),
    check (state <> 'batched' or batch_id is not null),
    check (state <> 'rescuing' or rescue_due_at is not null),
    check (state <> 'succeeded' or served_by is not null)
);

create index deferral_queued on deferral (lane_id, queued_at, id) where state = 'queued';
create index deferral_batched on deferral (batch_id, id) where state = 'batched';
create index deferral_rescuing on deferral (rescue_due_at) where state = 'rescuing';
create index deferral_deadline on deferral (deadline_at) where state in ('queued', 'batched');
create index deferral_promoted on deferral (rescue_due_at)
    where state in ('queued', 'batched') and rescue_due_at is not null;
create index deferral_open on deferral (lane_id) where completed_at is null;
create index deferral_completed on deferral (completed_at, id) where completed_at is not null;
create index deferral_tenant on deferral (tenant, id);
create index deferral_body on deferral (body_hash, tenant, id);
create unique index deferral_idempotency on deferral (tenant, idempotency_key) where idempotency_key is not null;

-- The item as it goes into a batch; written once. codec: 1 zstd, 2 zstd and sealed.
create table payload (
    deferral_id uuid primary key,
    codec smallint not null check (codec in (1, 2)),
    body bytea not null
);

-- What came back; written once.
create table outcome (
    deferral_id uuid primary key,
    status integer not null,
    codec smallint not null check (codec in (1, 2)),
    body bytea not null,
    received_at timestamptz not null
);

-- Submissions that brought no final result. The last submission is told by the deferral itself.
create table attempt (
    deferral_id uuid not null,
    number integer not null,
    batch_id uuid,
    result text not null,
    detail text,
    ended_at timestamptz not null,
    primary key (deferral_id, number)
);

-- The ledger: what a call cost, and what it would have cost live. It outlives its deferral. An answer that came when
-- another was there already has an entry of its own: it was paid as well.
create table entry (
    deferral_id uuid not null,
    kind text not null check (kind in ('answer', 'late')),
    tenant text not null,
    workload text,
    model text not null,
    served_by text not null check (served_by in ('batch', 'live')),
    settled_at timestamptz not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_write_5m_tokens bigint not null,
    cache_write_1h_tokens bigint not null,
    cache_read_tokens bigint not null,
    -- Billionths of a dollar; both or none, where the model has no known price.
    paid_nanousd bigint,
    live_nanousd bigint,
    primary key (deferral_id, kind),
    check ((paid_nanousd is null) = (live_nanousd is null))
);

-- Instants that replicas share: 'flush' makes due whatever was queued before it.
create table mark (
    name text primary key,
    at timestamptz not null
);
