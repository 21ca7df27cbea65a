-- What pricing an entry again needs beside its tokens. `passes` holds those of its passes, as JSON, that another model
-- served or that the Message's own totals leave out; their tokens are in the entry's all the same.
alter table entry add column web_searches bigint not null default 0;
alter table entry add column us_only boolean not null default false;
alter table entry add column fast boolean not null default false;
alter table entry add column passes text;
-- Billionths of a dollar: what it would have cost live without any caching. None, too, in entries from before it was kept.
alter table entry add column uncached_nanousd bigint;

-- Reports read the entries of some days; pricing again goes through them in this order.
create index entry_settled on entry (settled_at, deferral_id, kind);

-- The ledger of live calls, in sums by the hour, kept apart for all that a price depends on: so the sums can be priced
-- again. A row is of one pass: the calls' own, or one of another model or apart from their totals, which counts no calls.
-- `prompt_above` is the length of prompt from which on its price holds. Amounts are of what has a price.
create table live_charge (
    hour timestamptz not null,
    workload_id bigint not null,
    model text not null,
    pass_model text not null,
    us_only boolean not null,
    fast boolean not null,
    prompt_above bigint not null,
    calls bigint not null,
    unread bigint not null,
    unpriced bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_write_5m_tokens bigint not null,
    cache_write_1h_tokens bigint not null,
    cache_read_tokens bigint not null,
    web_searches bigint not null,
    paid_nanousd bigint not null,
    uncached_nanousd bigint not null,
    primary key (hour, workload_id, model, pass_model, us_only, fast, prompt_above)
);
