-- append_event: put one event at the end of the log. Call it last in a transaction: it locks event_head until the commit,
-- which is what makes positions dense and their order the order of commits.
-- p_audience: null for all members. Returns the event's position. Raises RG503 RGP.UNAVAILABLE while the log is lost. Locks event_head.
create or replace function rustygpt.append_event(
  p_conversation uuid, p_audience uuid, p_type text, p_root uuid, p_message uuid, p_payload jsonb
) returns bigint
language plpgsql as $$
declare
  v_position bigint;
  v_at timestamptz;
  v_prev bigint;
  v_is_kept boolean;
  v_stream uuid := coalesce(p_audience, p_conversation);
begin
  -- Never earlier than the event before it, also when the clock was set back: ?since= searches by it.
  update rustygpt.event_head set position = position + 1, last_at = greatest(last_at, clock_timestamp())
  returning position, last_at, is_kept into v_position, v_at, v_is_kept;
  if not v_is_kept then
    perform rustygpt.require_log();
  end if;
  select h.position into v_prev from rustygpt.stream_heads h where h.stream_id = v_stream;
  insert into rustygpt.stream_heads (stream_id, position) values (v_stream, v_position)
  on conflict (stream_id) do update set position = excluded.position;
  insert into rustygpt.event_log
    (position, prev, conversation_id, audience_user_id, type, root_id, message_id, payload, created_at)
  values (v_position, coalesce(v_prev, 0), p_conversation, p_audience, p_type, p_root, p_message, p_payload, v_at);
  return v_position;
end
$$;

-- append_deltas: store one chunk for each of several replies, in one call. The arrays run in parallel; a message comes at most once.
-- p_indexes: the chunk's number, from 0. p_lease_seconds: how far each lease is pushed out.
-- Returns a row per chunk in the given order: status is appended, duplicate (it was stored before; position says where) or
-- refused (the generation ended, or has another fence); is_cancelled says that somebody asked for a stop.
-- A refused row never fails the others. Raises RG503 RGP.UNAVAILABLE while the log is lost. Emits message.delta. Locks the generations in id order, then event_head.
create or replace function rustygpt_api.append_deltas(
  p_messages uuid[], p_fences bigint[], p_indexes integer[], p_contents text[], p_lease_seconds double precision
) returns table (status text, "position" bigint, prev bigint, at timestamptz, is_cancelled boolean)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_status text[];
  v_appended uuid[];
  v_base bigint;
  v_at timestamptz;
  v_is_kept boolean;
begin
  perform from generations g where g.message_id = any (p_messages) order by g.message_id for no key update;

  select array_agg(j.status order by j.ord), array_agg(j.message_id) filter (where j.status = 'appended')
  into v_status, v_appended
  from (
    select d.ord, d.message_id, case
      when g.message_id is null or g.fence <> d.fence then 'refused'
      when d.idx < g.next_idx then 'duplicate'
      when g.state <> 'running' or d.idx > g.next_idx then 'refused'
      else 'appended'
    end as status
    from unnest(p_messages, p_fences, p_indexes) with ordinality as d (message_id, fence, idx, ord)
    left join generations g on g.message_id = d.message_id
  ) j;

  if v_appended is not null then
    update generations g
    set next_idx = g.next_idx + 1,
        first_delta_at = coalesce(g.first_delta_at, clock_timestamp()),
        lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where g.message_id = any (v_appended);

    update event_head h set position = h.position + cardinality(v_appended), last_at = greatest(h.last_at, clock_timestamp())
    returning h.position - cardinality(v_appended), h.last_at, h.is_kept into v_base, v_at, v_is_kept;
    if not v_is_kept then
      perform require_log();
      -- A crash loses the chunks whatever was written to disk about them: waiting for the disk would gain nothing.
      perform set_config('synchronous_commit', 'off', true);
    end if;

    -- A statement of its own, so that its snapshot, taken under the head lock, sees the newest stream_heads.
    insert into event_log (position, prev, conversation_id, type, root_id, parent_id, message_id, idx, content, created_at)
    select p.position, coalesce(lag(p.position) over (partition by p.conversation_id order by p.position), s.position, 0),
           p.conversation_id, 'message.delta', p.root_id, p.parent_id, p.message_id, p.idx, p.content, v_at
    from (
      select v_base + row_number() over (order by d.ord) as position, m.conversation_id, m.root_id, m.parent_id,
             d.message_id, d.idx, d.content
      from unnest(p_messages, p_indexes, p_contents, v_status) with ordinality as d (message_id, idx, content, status, ord)
      join messages m on m.id = d.message_id
      where d.status = 'appended'
    ) p
    left join stream_heads s on s.stream_id = p.conversation_id;

    insert into stream_heads as s (stream_id, position)
    select e.conversation_id, max(e.position) from event_log e where e.position > v_base group by e.conversation_id
    on conflict (stream_id) do update set position = excluded.position;
  end if;

  return query
    select d.status, e.position, e.prev, e.created_at, g.cancel_requested_at is not null
    from unnest(p_messages, p_indexes, v_status) with ordinality as d (message_id, idx, status, ord)
    left join event_log e on d.status <> 'refused' and e.type = 'message.delta' and e.message_id = d.message_id and e.idx = d.idx
    left join generations g on g.message_id = d.message_id
    order by d.ord;
end
$$;
