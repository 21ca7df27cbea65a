-- What pricing an entry again needs beside its tokens. `passes` holds those of its passes, as JSON, that another model
-- served or that the Message's own totals leave out; their tokens are in the entry's all the same.
alter table entry add column web_searches integer not null default 0;
alter table entry add column us_only integer not null default 0;
alter table entry add column fast integer not null default 0;
alter table entry add column passes text;
-- Billionths of a dollar: what it would have cost live without any caching. None, too, in entries from before it was kept.
alter table entry add column uncached_nanousd integer;

-- Reports read the entries of some days; pricing again goes through them in this order.
create index entry_settled on entry (settled_at, deferral_id, kind);

-- The ledger of live calls, in sums by the hour, kept apart for all that a price depends on: so the sums can be priced
-- again. A row is of one pass: the calls' own, or one of another model or apart from their totals, which counts no calls.
-- `prompt_above` is the length of prompt from which on its price holds. Amounts are of what has a price.
create table live_charge (
    hour integer not null,
    workload_id integer not null,
    model text not null,
    pass_model text not null,
    us_only integer not null,
    fast integer not null,
    prompt_above integer not null,
    calls integer not null,
    unread integer not null,
    unpriced integer not null,
    input_tokens integer not null,
    output_tokens integer not null,
    cache_write_5m_tokens integer not null,
    cache_write_1h_tokens integer not null,
    cache_read_tokens integer not null,
    web_searches integer not null,
    paid_nanousd integer not null,
    uncached_nanousd integer not null,
    primary key (hour, workload_id, model, pass_model, us_only, fast, prompt_above)
) strict, without rowid;
