-- A row of the log as readers get it: of a message that was deleted or edited it says what the message says now.
-- Columns: position, prev (the position before it in the same conversation, 0 for the first), conversation_id,
-- audience_user_id (null: all members), type, root_id, parent_id, message_id, idx and content (message.delta only), payload
-- (everything else), created_at.

-- text_now: what is to be told, in place of what was logged, by an event that carries a message's text; no row where that stands. '' when the
-- message is deleted. Only what people write can be edited; a reply's pieces are told as they came. One message is looked up at most, by its
-- key: the limit keeps the planner from joining the whole table. It does not know how short a page is; who calls this for one sets jit = off, lest
-- a database of somebody else's compile a query of a millisecond.
create or replace function rustygpt.text_now(p_type text, p_root uuid, p_message uuid) returns table (text text)
language sql stable as $$
  select case when m.deleted_at is not null then '' else m.content end
  from rustygpt.messages m
  where p_type in ('message.created', 'message.edited', 'message.restored', 'message.delta', 'thread.new')
    and m.id = case when p_type = 'thread.new' then p_root else p_message end
    and (m.deleted_at is not null or m.edited_at is not null)
  limit 1
$$;

-- put_text: an event's payload with another text in it; as it is where p_text is null.
create or replace function rustygpt.put_text(p_type text, p_payload jsonb, p_text text) returns jsonb
language sql stable as $$
  select case
    when p_text is null then p_payload
    when p_type = 'message.created' then jsonb_set(p_payload, '{message,content}', to_jsonb(p_text))
    when p_type = 'thread.new' then jsonb_set(p_payload, '{summary,root_excerpt}', to_jsonb(left(p_text, 200)))
    when p_type in ('message.edited', 'message.restored') then jsonb_set(p_payload, '{content}', to_jsonb(p_text))
    else p_payload
  end
$$;

-- stream_head: where the log ends. Returns one row; positions below first_position have been pruned. Each process asks every few
-- seconds, and first when the database is back: so this is where a lost log is noticed and begun anew. Locks as revive_log, only then.
create or replace function rustygpt_api.stream_head()
returns table (epoch text, "position" bigint, first_position bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
begin
  if is_log_lost() then
    perform revive_log();
  end if;
  return query select h.epoch, h.position, h.first_position from event_head h;
end
$$;

-- read_events: the log after p_after, all conversations, at most p_limit rows in order.
create or replace function rustygpt_api.read_events(p_after bigint, p_limit integer)
returns table (
  "position" bigint, prev bigint, conversation_id uuid, audience_user_id uuid, type text, root_id uuid, parent_id uuid,
  message_id uuid, idx integer, content text, payload jsonb, created_at timestamptz
)
language sql stable security definer set search_path = rustygpt, pg_temp set jit = off as $$
  select e.position, e.prev, e.conversation_id, e.audience_user_id, e.type, e.root_id, e.parent_id, e.message_id, e.idx,
         case when e.type = 'message.delta' then coalesce(n.text, e.content) end, put_text(e.type, e.payload, n.text), e.created_at
  from (select l.* from event_log l where l.position > p_after order by l.position limit p_limit) e
  left join lateral text_now(e.type, e.root_id, e.message_id) n on true
  order by e.position
$$;

-- read_conversation_events: one conversation's log in (p_after, p_upto], at most p_limit rows in order, personal events included:
-- who reads for a person filters by audience. Who may read was settled by open_conversation_stream. Raises as require_history.
create or replace function rustygpt_api.read_conversation_events(
  p_conversation uuid, p_after bigint, p_upto bigint, p_limit integer
) returns table (
  "position" bigint, prev bigint, conversation_id uuid, audience_user_id uuid, type text, root_id uuid, parent_id uuid,
  message_id uuid, idx integer, content text, payload jsonb, created_at timestamptz
)
language plpgsql stable security definer set search_path = rustygpt, pg_temp set jit = off as $$
#variable_conflict use_column
begin
  perform require_history(p_after);
  return query
    select e.position, e.prev, e.conversation_id, e.audience_user_id, e.type, e.root_id, e.parent_id, e.message_id, e.idx,
           case when e.type = 'message.delta' then coalesce(n.text, e.content) end, put_text(e.type, e.payload, n.text), e.created_at
    from (
      select l.* from event_log l
      where l.conversation_id = p_conversation and l.position > p_after and l.position <= p_upto
      order by l.position limit p_limit
    ) e
    left join lateral text_now(e.type, e.root_id, e.message_id) n on true
    order by e.position;
end
$$;

-- read_log: the log in (p_after, p_upto], all conversations, at most p_limit rows in order, for readers who take from it what is theirs.
-- Raises as require_history.
create or replace function rustygpt_api.read_log(p_after bigint, p_upto bigint, p_limit integer)
returns table (
  "position" bigint, prev bigint, conversation_id uuid, audience_user_id uuid, type text, root_id uuid, parent_id uuid,
  message_id uuid, idx integer, content text, payload jsonb, created_at timestamptz
)
language plpgsql stable security definer set search_path = rustygpt, pg_temp set jit = off as $$
#variable_conflict use_column
begin
  perform require_history(p_after);
  return query
    select e.position, e.prev, e.conversation_id, e.audience_user_id, e.type, e.root_id, e.parent_id, e.message_id, e.idx,
           case when e.type = 'message.delta' then coalesce(n.text, e.content) end, put_text(e.type, e.payload, n.text), e.created_at
    from (
      select l.* from event_log l where l.position > p_after and l.position <= p_upto order by l.position limit p_limit
    ) e
    left join lateral text_now(e.type, e.root_id, e.message_id) n on true
    order by e.position;
end
$$;

-- user_events: the rows of the log that p_user may see in (p_after, p_upto], at most p_limit in order, as they were logged.
create or replace function rustygpt.user_events(p_user uuid, p_after bigint, p_upto bigint, p_limit integer)
returns setof rustygpt.event_log
language sql stable as $$
  select e.* from (
    select l.* from rustygpt.membership_spans s
    join rustygpt.stream_heads h on h.stream_id = s.conversation_id and h.position > p_after
    cross join lateral (
      select e.* from rustygpt.event_log e
      where e.conversation_id = s.conversation_id
        and e.position > greatest(p_after, s.from_position - 1)
        and e.position <= least(p_upto, coalesce(s.to_position, p_upto))
        and e.audience_user_id is null
      order by e.position limit p_limit
    ) l
    where s.user_id = p_user and coalesce(s.to_position, p_upto) > p_after
    union all
    (select e.* from rustygpt.event_log e
     where e.audience_user_id = p_user and e.position > p_after and e.position <= p_upto
     order by e.position limit p_limit)
  ) e
  order by e.position limit p_limit
$$;

-- read_user_events: what p_user may see of the log in (p_after, p_upto], at most p_limit rows in order: each conversation between
-- joining and leaving, both included, and the user's personal events. Raises as require_history.
create or replace function rustygpt_api.read_user_events(p_user uuid, p_after bigint, p_upto bigint, p_limit integer)
returns table (
  "position" bigint, prev bigint, conversation_id uuid, audience_user_id uuid, type text, root_id uuid, parent_id uuid,
  message_id uuid, idx integer, content text, payload jsonb, created_at timestamptz
)
language plpgsql stable security definer set search_path = rustygpt, pg_temp set jit = off as $$
#variable_conflict use_column
begin
  perform require_history(p_after);
  return query
    select e.position, e.prev, e.conversation_id, e.audience_user_id, e.type, e.root_id, e.parent_id, e.message_id, e.idx,
           case when e.type = 'message.delta' then coalesce(n.text, e.content) end, put_text(e.type, e.payload, n.text), e.created_at
    from user_events(p_user, p_after, p_upto, p_limit) e
    left join lateral text_now(e.type, e.root_id, e.message_id) n on true
    order by e.position;
end
$$;

-- position_at: the last position before a time, so that reading on starts with the first event at or after it.
-- Positions are dense and their times never fall, so this is a binary search over the primary key: some twenty look-ups.
create or replace function rustygpt.position_at(p_at timestamptz) returns bigint
language plpgsql stable as $$
declare
  v_low bigint;
  v_high bigint;
  v_middle bigint;
  v_middle_at timestamptz;
begin
  select h.first_position, h.position + 1 into v_low, v_high from rustygpt.event_head h;
  while v_low < v_high loop
    v_middle := (v_low + v_high) / 2;
    select e.created_at into v_middle_at from rustygpt.event_log e where e.position = v_middle;
    if v_middle_at < p_at then
      v_low := v_middle + 1;
    else
      v_high := v_middle;
    end if;
  end loop;
  return v_low - 1;
end
$$;

-- resolve_cursor: from which position a reader starts, and whether that leaves a hole.
-- p_epoch and p_after: the client's cursor, null without one. p_since: the alternative, a time.
-- p_backlog: how many events lie after a position; p_max_backlog: how many may be replayed.
-- gap_reason: null, unknown_cursor (other epoch, a position of the future, or the log was lost), history_pruned or backfill_limit.
-- With a gap, start is the position after the hole (the head) and gap_from where the hole begins.
create or replace function rustygpt.resolve_cursor(
  p_epoch text, p_after bigint, p_since timestamptz,
  out epoch text, out head bigint, out start bigint, out gap_reason text, out gap_from bigint
)
language plpgsql stable as $$
declare
  v_first bigint;
  v_last_at timestamptz;
begin
  select h.epoch, h.position, h.first_position, h.last_at into epoch, head, v_first, v_last_at from rustygpt.event_head h;
  if p_since is null and p_after is null then
    start := head;
  elsif rustygpt.is_log_lost() then
    gap_reason := 'unknown_cursor';
    gap_from := 0;
  elsif p_since is not null then
    start := rustygpt.position_at(p_since);
    -- With nothing left, the newest event that there ever was decides.
    if v_first > 1 and start < v_first and p_since < coalesce(
      (select e.created_at from rustygpt.event_log e where e.position = v_first), v_last_at + interval '1 microsecond') then
      gap_reason := 'history_pruned';
      gap_from := 0;
    end if;
  elsif p_epoch is distinct from epoch or p_after > head then
    gap_reason := 'unknown_cursor';
    gap_from := 0;
  elsif p_after < v_first - 1 then
    gap_reason := 'history_pruned';
    gap_from := p_after;
  else
    start := p_after;
  end if;
  if gap_reason is not null then
    start := head;
  end if;
end
$$;

-- open_conversation_stream: the gate of one conversation's stream, and where it starts. See rustygpt.resolve_cursor.
-- p_max_backlog: events. Raises RG404 RGP.NOT_FOUND.
create or replace function rustygpt_api.open_conversation_stream(
  p_actor uuid, p_conversation uuid, p_epoch text, p_after bigint, p_since timestamptz, p_max_backlog integer
) returns table (epoch text, head bigint, start bigint, gap_reason text, gap_from bigint)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v record;
begin
  perform require_member(p_actor, p_conversation, 'viewer');
  select * into v from resolve_cursor(p_epoch, p_after, p_since);
  -- No more than lies behind in all conversations; so a reader that is only a little behind is not counted for.
  if v.gap_reason is null and v.head - v.start > p_max_backlog and (
    select count(*) from (
      select from event_log e where e.conversation_id = p_conversation and e.position > v.start limit p_max_backlog + 1
    ) backlog
  ) > p_max_backlog then
    return query select v.epoch, v.head, v.head, 'backfill_limit', v.start;
  else
    return query select v.epoch, v.head, v.start, v.gap_reason, v.gap_from;
  end if;
end
$$;

-- open_user_stream: where a user's own stream starts, and the conversations that the user is in at `head`; is_settled when these were the
-- same ever since `start`. p_max_backlog: events. See rustygpt.resolve_cursor.
create or replace function rustygpt_api.open_user_stream(
  p_actor uuid, p_epoch text, p_after bigint, p_since timestamptz, p_max_backlog integer
) returns table (
  epoch text, head bigint, start bigint, gap_reason text, gap_from bigint, conversations uuid[], is_settled boolean
)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v record;
  v_conversations uuid[];
begin
  select * into v from resolve_cursor(p_epoch, p_after, p_since);
  select coalesce(array_agg(m.conversation_id), '{}') into v_conversations from members m where m.user_id = p_actor;
  if v.gap_reason is null and v.head - v.start > p_max_backlog and (
    select count(*) from user_events(p_actor, v.start, v.head, p_max_backlog + 1)
  ) > p_max_backlog then
    return query select v.epoch, v.head, v.head, 'backfill_limit', v.start, v_conversations, true;
  else
    return query select v.epoch, v.head, v.start, v.gap_reason, v.gap_from, v_conversations, not exists (
      select from membership_spans s
      where s.user_id = p_actor and greatest(s.from_position, coalesce(s.to_position, 0)) > v.start
    );
  end if;
end
$$;
