-- What called, as far as a workload is recognised by it; and the rule that decided, if one did.
alter table deferral add column client text;
alter table deferral add column rule text;

-- Streams of calls that do one job. The id is a hash of what makes it one, the same on every replica; named ones have it
-- from their tenant and their name.
create table workload (
    id bigint primary key,
    tenant text not null,
    name text not null,
    kind text not null check (kind in ('named', 'alike', 'other', 'unread')),
    -- What its calls share beside their prompt, and the sketch that prompts are compared with.
    family text not null,
    client text not null,
    sketch bytea,
    -- The beginning of its system prompt, as far as the operator wants it kept.
    preview text,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    -- When a call of it was last written down; and what the inventory thinks of it, and when that was thought.
    changed_at timestamptz not null,
    assessed_at timestamptz,
    score integer,
    assessment text,
    check ((assessed_at is null) = (assessment is null)),
    check ((assessed_at is null) = (score is null))
);

create unique index workload_name on workload (tenant, name);
create index workload_score on workload (score, id);
create index workload_seen on workload (last_seen_at, id);

-- One row for each call, as long as calls are kept: its shape and its measures, never its text. Each day is a partition
-- of its own, made when its first call is written and dropped when its last one is too old.
create table call_record (
    at timestamptz not null,
    id bigint not null,
    workload_id bigint not null,
    way text not null check (way in ('live', 'batch', 'rescued', 'none')),
    rule text,
    blocked_by text,
    model text not null,
    client text not null,
    status integer not null,
    retries integer not null,
    stream boolean not null,
    hung_up boolean not null,
    tool_turn boolean not null,
    tool_stop boolean not null,
    messages integer not null,
    tools integer not null,
    max_tokens bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_write_5m_tokens bigint not null,
    cache_write_1h_tokens bigint not null,
    cache_read_tokens bigint not null,
    paid_nanousd bigint,
    live_nanousd bigint,
    request_bytes bigint not null,
    answer_bytes bigint not null,
    prefix_bytes bigint not null,
    duration_ms bigint not null,
    first_byte_ms bigint not null,
    reader_wait_ms bigint not null,
    system_hash bigint not null,
    tools_hash bigint not null,
    opening_hash bigint not null,
    primary key (at, id),
    check ((paid_nanousd is null) = (live_nanousd is null))
) partition by range (at);

create index call_record_workload on call_record (workload_id, at, id);

-- Sums of all calls by hour, kept for good. What blocks none of them from a batch is an empty text.
create table call_hour (
    workload_id bigint not null,
    hour timestamptz not null,
    model text not null,
    way text not null check (way in ('live', 'batch', 'rescued', 'none')),
    blocked_by text not null,
    tenant text not null,
    calls bigint not null,
    unread bigint not null,
    unpriced bigint not null,
    succeeded bigint not null,
    limited bigint not null,
    refused bigint not null,
    broken bigint not null,
    unanswered bigint not null,
    streamed bigint not null,
    hung_up bigint not null,
    retried bigint not null,
    tool_turns bigint not null,
    tool_stops bigint not null,
    slowly_read bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_write_5m_tokens bigint not null,
    cache_write_1h_tokens bigint not null,
    cache_read_tokens bigint not null,
    paid_nanousd bigint not null,
    live_nanousd bigint not null,
    request_bytes bigint not null,
    answer_bytes bigint not null,
    prefix_bytes bigint not null,
    duration_ms bigint not null,
    first_byte_ms bigint not null,
    reader_wait_ms bigint not null,
    primary key (workload_id, hour, model, way, blocked_by)
);

create index call_hour_hour on call_hour (hour);

-- Up to where the feed was read for deferrals to be recorded.
insert into counter (name, value) values ('recorded', 0);
