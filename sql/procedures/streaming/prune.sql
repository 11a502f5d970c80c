-- prune_events: delete the oldest events: those older than p_retention_seconds, and all but the newest p_keep (null: however many), at
-- most p_limit of them, up to the first delta of a reply that is still being written and is not kept with its message: its text is
-- nowhere else. Positions stay dense: what is left begins at first_position, which moves in the same transaction, so that a cursor from
-- before is recognised exactly. Returns how many were deleted. Locks event_head, last and briefly.
create or replace function rustygpt_api.prune_events(p_retention_seconds double precision, p_keep bigint, p_limit integer)
returns bigint
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_first bigint;
  v_last bigint;
begin
  select h.first_position, greatest(h.position - p_keep, position_at(clock_timestamp() - make_interval(secs => p_retention_seconds)))
  into v_first, v_last from event_head h;
  select least(v_last, v_first + p_limit - 1, min(e.position) - 1) into v_last
  from generations g
  left join lateral (
    select l.position from event_log l where l.message_id = g.message_id and l.type = 'message.delta' and l.idx >= g.kept_idx
    order by l.idx limit 1
  ) e on true
  where g.state in ('queued', 'running');
  if v_last < v_first then
    return 0;
  end if;
  delete from event_log e where e.position between v_first and v_last;
  delete from membership_spans s where s.to_position <= v_last;
  update event_head h set first_position = greatest(h.first_position, v_last + 1);
  return v_last - v_first + 1;
end
$$;
