-- Bodies and answers are by far the most bytes, and deleted row by row they would leave as many behind to be vacuumed. So
-- each day is a partition of its own, by when its deferrals were accepted, which is how their ids begin. It is made when
-- its first call comes, or the day before, and dropped when no deferral of the day is left.
--
-- What is there already is not moved: it becomes one partition with all from before some day. Attaching it reads it once
-- from end to end.
do $$
declare
    day_seconds constant bigint := 24 * 60 * 60;
    kind text;
    old text;
    newest uuid;
    day bigint;
    bound uuid;
begin
    -- From here on nobody adds anything newer.
    lock table outcome, payload in access exclusive mode;
    newest := greatest(
        (select deferral_id from outcome order by deferral_id desc limit 1),
        (select deferral_id from payload order by deferral_id desc limit 1));
    -- The day after the newest, and not before tomorrow: gateways of the build before this one go on until then.
    day := greatest(
        ('x' || left(replace(newest::text, '-', ''), 12))::bit(48)::bigint / 1000,
        floor(extract(epoch from now()))::bigint) / day_seconds + 1;
    bound := (lpad(to_hex(day * day_seconds * 1000), 12, '0') || repeat('0', 20))::uuid;
    foreach kind in array array['outcome', 'payload'] loop
        old := kind || '_until_' || to_char(to_timestamp(day * day_seconds) at time zone 'utc', 'YYYYMMDD');
        execute format('alter table %I rename to %I', kind, old);
        execute format('alter index %I rename to %I', kind || '_pkey', old || '_pkey');
        execute format('create table %I (like %I including all) partition by range (deferral_id)', kind, old);
        if newest is null then
            execute format('drop table %I', old);
        else
            execute format('alter table %I attach partition %I for values from (minvalue) to (%L)', kind, old, bound);
        end if;
    end loop;
end $$;
