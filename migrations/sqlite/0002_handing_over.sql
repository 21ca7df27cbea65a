-- Where the webhook of a final deferral goes: a configured receiver's name, or the origin of the URL beside it. And
-- since when the caller is gone who waited for it, and when a repeated call last took its place, so that the next one
-- knows whose place to take.
alter table deferral add column receiver text;
alter table deferral add column callback_url text;
alter table deferral add column caller_left_at integer;
alter table deferral add column attached_at integer;

create index deferral_members on deferral (tenant, group_name, id) where group_name is not null;
create index deferral_open_members on deferral (tenant, group_name) where group_name is not null and completed_at is null;

-- Numbers that are given out one after the other.
create table counter (
    name text primary key,
    value integer not null
) strict;

-- Deferrals in the order in which they became final. A position is taken under the lock on the counter's row, which is
-- held to the commit: whoever has seen a position never sees a lower one appear.
create table feed (
    position integer primary key,
    deferral_id blob not null,
    tenant text not null,
    group_name text,
    settled_at integer not null
) strict;

create index feed_tenant on feed (tenant, position);
create index feed_grouped on feed (position) where group_name is not null;

insert into feed (position, deferral_id, tenant, group_name, settled_at)
select row_number() over (order by completed_at, id), id, tenant, group_name, completed_at
from deferral where completed_at is not null;

-- The last position that was given out, and up to where the feed was searched for groups to announce.
insert into counter (name, value) select 'feed', count(*) from feed;
insert into counter (name, value) select 'announced', count(*) from feed;

-- Deferrals that are announced together. `members` counts all that ever joined, those that are forgotten by now as well;
-- `expect` is how many there will be, where whoever closed it said so.
create table deferral_group (
    tenant text not null,
    name text not null,
    state text not null check (state in ('open', 'closed', 'announced')),
    members integer not null default 0,
    expect integer,
    receiver text,
    callback_url text,
    opened_at integer not null,
    closed_at integer,
    announced_at integer,
    primary key (name, tenant),
    check ((state = 'open') = (closed_at is null)),
    check ((state = 'announced') = (announced_at is not null))
) strict;

create index deferral_group_opened on deferral_group (opened_at);

insert into deferral_group (tenant, name, state, members, opened_at)
select tenant, group_name, 'open', count(*), min(accepted_at)
from deferral where group_name is not null group by tenant, group_name;

-- Events on their way to a receiver. The one of a deferral has the deferral's id, so that there is only ever one.
create table delivery (
    id blob primary key,
    tenant text not null,
    event text not null check (event in ('deferral.succeeded', 'deferral.failed', 'deferral.expired', 'deferral.canceled',
        'group.completed')),
    receiver text not null,
    callback_url text,
    deferral_id blob,
    group_name text,
    state text not null check (state in ('due', 'delivered', 'dead')),
    -- Attempts begun since it was made or replayed.
    attempts integer not null default 0,
    -- When it is next tried, which is also the lease of whoever is trying it; how often it was claimed.
    due_at integer not null,
    fence integer not null default 0,
    created_at integer not null,
    ended_at integer,
    check ((state = 'due') = (ended_at is null)),
    check ((deferral_id is null) <> (group_name is null))
) strict;

create index delivery_due on delivery (receiver, due_at) where state = 'due';
create index delivery_state on delivery (state, id);
create index delivery_receiver on delivery (receiver, id);
create index delivery_ended on delivery (ended_at, id) where ended_at is not null;

-- What became of each try: the receiver's HTTP status, or in a word why there is none.
create table delivery_attempt (
    delivery_id blob not null,
    number integer not null,
    status integer,
    failure text,
    started_at integer not null,
    duration_ms integer not null,
    primary key (delivery_id, number)
) strict;
