-- How a call asked: whether for a stream, and how often its client said that it had tried before.
alter table deferral add column stream integer not null default 0;
alter table deferral add column retries integer not null default 0;
