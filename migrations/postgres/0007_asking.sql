-- How a call asked: whether for a stream, and how often its client said that it had tried before.
alter table deferral add column stream boolean not null default false;
alter table deferral add column retries smallint not null default 0;
