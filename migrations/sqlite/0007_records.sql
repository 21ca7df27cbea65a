-- How a call asked: whether for a stream, and how often its client said that it had tried before.
alter table deferral add column stream integer not null default 0;
alter table deferral add column retries integer not null default 0;

-- The part of what a call cost that no batch lowers: fees, in billionths of a dollar.
alter table call_record add column fees_nanousd integer not null default 0;
alter table call_hour add column fees_nanousd integer not null default 0;
