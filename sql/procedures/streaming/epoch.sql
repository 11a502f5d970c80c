-- check_epoch: start a new epoch when this cluster is not the one that wrote the log (a restored backup, a promoted replica):
-- then what clients have read may never have happened here. Called once at each start, by the owner of the schema.
-- Returns the epoch. Locks event_head.
create or replace function rustygpt.check_epoch() returns text
language plpgsql as $$
declare
  v_system bigint;
  v_timeline integer;
  v_epoch text;
begin
  select s.system_identifier, c.timeline_id into v_system, v_timeline from pg_control_system() s, pg_control_checkpoint() c;
  update rustygpt.event_head h
  set epoch = substr(md5(gen_random_uuid()::text), 1, 6), system_identifier = v_system, timeline = v_timeline
  where h.system_identifier <> v_system or h.timeline <> v_timeline;
  select h.epoch into v_epoch from rustygpt.event_head h;
  return v_epoch;
end
$$;
