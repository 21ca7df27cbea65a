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
