-- What called, as far as a workload is recognised by it; and the rule that decided, if one did.
alter table deferral add column client text;
alter table deferral add column rule text;

-- Streams of calls that do one job. The id is a hash of what makes it one, the same on every replica; named ones have it
-- from their tenant and their name.
create table workload (
    id integer primary key,
    tenant text not null,
    name text not null,
    kind text not null check (kind in ('named', 'alike', 'other', 'unread')),
    -- What its calls share beside their prompt, and the sketch that prompts are compared with.
    family text not null,
    client text not null,
    sketch blob,
    -- The beginning of its system prompt, as far as the operator wants it kept.
    preview text,
    first_seen_at integer not null,
    last_seen_at integer not null,
    -- When a call of it was last written down; and what the inventory thinks of it, and when that was thought.
    changed_at integer not null,
    assessed_at integer,
    score integer,
    assessment text,
    check ((assessed_at is null) = (assessment is null)),
    check ((assessed_at is null) = (score is null))
) strict;

create unique index workload_name on workload (tenant, name);
create index workload_score on workload (score, id);
create index workload_seen on workload (last_seen_at, id);

-- One row for each call, as long as calls are kept: its shape and its measures, never its text.
create table call_record (
    at integer not null,
    id integer not null,
    workload_id integer not null,
    way text not null check (way in ('live', 'batch', 'rescued', 'none')),
    rule text,
    blocked_by text,
    model text not null,
    client text not null,
    status integer not null,
    retries integer not null,
    stream integer not null,
    hung_up integer not null,
    tool_turn integer not null,
    tool_stop integer not null,
    messages integer not null,
    tools integer not null,
    max_tokens integer not null,
    input_tokens integer not null,
    output_tokens integer not null,
    cache_write_5m_tokens integer not null,
    cache_write_1h_tokens integer not null,
    cache_read_tokens integer not null,
    paid_nanousd integer,
    live_nanousd integer,
    request_bytes integer not null,
    answer_bytes integer not null,
    prefix_bytes integer not null,
    duration_ms integer not null,
    first_byte_ms integer not null,
    reader_wait_ms integer not null,
    system_hash integer not null,
    tools_hash integer not null,
    opening_hash integer not null,
    primary key (at, id),
    check ((paid_nanousd is null) = (live_nanousd is null))
) strict, without rowid;

create index call_record_workload on call_record (workload_id, at, id);

-- Sums of all calls by hour, kept for good. What blocks none of them from a batch is an empty text.
create table call_hour (
    workload_id integer not null,
    hour integer not null,
    model text not null,
    way text not null check (way in ('live', 'batch', 'rescued', 'none')),
    blocked_by text not null,
    tenant text not null,
    calls integer not null,
    unread integer not null,
    unpriced integer not null,
    succeeded integer not null,
    limited integer not null,
    refused integer not null,
    broken integer not null,
    unanswered integer not null,
    streamed integer not null,
    hung_up integer not null,
    retried integer not null,
    tool_turns integer not null,
    tool_stops integer not null,
    slowly_read integer not null,
    input_tokens integer not null,
    output_tokens integer not null,
    cache_write_5m_tokens integer not null,
    cache_write_1h_tokens integer not null,
    cache_read_tokens integer not null,
    paid_nanousd integer not null,
    live_nanousd integer not null,
    request_bytes integer not null,
    answer_bytes integer not null,
    prefix_bytes integer not null,
    duration_ms integer not null,
    first_byte_ms integer not null,
    reader_wait_ms integer not null,
    primary key (workload_id, hour, model, way, blocked_by)
) strict, without rowid;

create index call_hour_hour on call_hour (hour);

-- Up to where the feed was read for deferrals to be recorded.
insert into counter (name, value) values ('recorded', 0);
