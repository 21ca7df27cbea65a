-- The rule that chose to defer it; none if its caller asked for that.
alter table deferral add column rule text;
