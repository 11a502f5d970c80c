-- new_epoch: a name for a history that begins now.
create or replace function rustygpt.new_epoch() returns text
language sql volatile as $$
  select substr(md5(gen_random_uuid()::text), 1, 6)
$$;

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
  set epoch = rustygpt.new_epoch(), system_identifier = v_system, timeline = v_timeline
  where h.system_identifier <> v_system or h.timeline <> v_timeline;
  select h.epoch into v_epoch from rustygpt.event_head h;
  return v_epoch;
end
$$;

-- begin_epoch: start a new epoch because somebody knows that history is another one: a backup was restored into the same cluster while no
-- process was looking. Every cursor given out before is answered by a gap. Called by the owner of the schema. Returns the epoch.
-- Locks event_head.
create or replace function rustygpt.begin_epoch() returns text
language sql volatile as $$
  update rustygpt.event_head set epoch = rustygpt.new_epoch() returning epoch
$$;

-- renew_epoch: start a new epoch because a process has seen the log at p_position of p_epoch, and now it ends before that: a backup was
-- restored under it, and positions that clients have will be given out again. Of several processes the first does it.
-- Returns the epoch. Locks event_head.
create or replace function rustygpt_api.renew_epoch(p_epoch text, p_position bigint) returns text
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_epoch text;
begin
  update event_head h set epoch = new_epoch() where h.epoch = p_epoch and h.position < p_position;
  select h.epoch into v_epoch from event_head h;
  return v_epoch;
end
$$;

-- begin_log: called at each start, before anything is appended or read. p_is_kept: sse.persistence.enabled.
-- A log that is kept goes on. One that is not, or was not until now, begins anew: it is emptied, and its epoch is another. What
-- unfinished replies have said is put with their messages first. Nobody else may use the log meanwhile (see hold_database).
-- Returns the epoch. Locks the running generations, event_head and the whole log.
create or replace function rustygpt_api.begin_log(p_is_kept boolean) returns text
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_head event_head;
begin
  perform from generations g where g.state = 'running' order by g.message_id for no key update;
  select h.* into v_head from event_head h for no key update;
  if p_is_kept and v_head.is_kept then
    return v_head.epoch;
  end if;
  if is_log_lost() then
    update generations g set next_idx = g.kept_idx where g.state = 'running';
  end if;
  update messages m set content = reply_text(m.id)
  from generations g where g.message_id = m.id and g.state = 'running' and g.next_idx > g.kept_idx;
  update generations g set kept_idx = g.next_idx where g.state = 'running';
  truncate event_log, stream_heads, log_witness;
  delete from membership_spans s where s.to_position is not null;
  if p_is_kept then
    alter table event_log set logged;
    alter table stream_heads set logged;
  elsif v_head.is_kept then
    alter table event_log set unlogged;
    alter table stream_heads set unlogged;
  end if;
  if not p_is_kept then
    insert into log_witness default values;
  end if;
  update event_head h set is_kept = p_is_kept, epoch = new_epoch(), first_position = h.position + 1 returning h.* into v_head;
  return v_head.epoch;
end
$$;

-- is_log_lost: whether a crash of PostgreSQL has emptied a log that is not kept. Until it is begun anew nothing may be appended, and
-- nobody may take what is left for history.
create or replace function rustygpt.is_log_lost() returns boolean
language sql stable as $$
  select not h.is_kept and not exists (select from rustygpt.log_witness) from rustygpt.event_head h
$$;

-- require_log: for those who append to a log that is not kept. Raises RG503 RGP.UNAVAILABLE while it is lost.
create or replace function rustygpt.require_log() returns void
language plpgsql stable as $$
begin
  if not exists (select from rustygpt.log_witness) then
    perform rustygpt.fail('RG503', 'RGP.UNAVAILABLE', 'The database has just restarted after a crash. Try again in a moment.');
  end if;
end
$$;

-- require_history: for those who read on from p_after. Raises RG404 RGP.NOT_FOUND when some of what comes after it is gone.
create or replace function rustygpt.require_history(p_after bigint) returns void
language plpgsql stable as $$
begin
  if rustygpt.is_log_lost() or exists (select from rustygpt.event_head h where p_after < h.first_position - 1) then
    perform rustygpt.fail('RG404', 'RGP.NOT_FOUND', 'These events are no longer kept.');
  end if;
end
$$;

-- revive_log: begin a lost log anew, under another epoch, so that every reader hears of it. What was being written lost its chunks with
-- the log: its owners lose the fence, and the reaper closes it with what is kept. Locks the running generations, then event_head.
create or replace function rustygpt.revive_log() returns void
language plpgsql as $$
begin
  perform from rustygpt.generations g where g.state = 'running' order by g.message_id for no key update;
  perform from rustygpt.event_head for no key update;
  if rustygpt.is_log_lost() then
    update rustygpt.generations g set fence = g.fence + 1, next_idx = g.kept_idx, lease_until = clock_timestamp()
    where g.state = 'running';
    update rustygpt.event_head h set epoch = rustygpt.new_epoch(), first_position = h.position + 1;
    insert into rustygpt.log_witness default values;
  end if;
end
$$;
