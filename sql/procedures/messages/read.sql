-- list_messages: a conversation's messages, newest first, with the stream's position from the same snapshot.
-- p_before: the seq of the last item of the page before, null for the newest. p_limit: 1 to 201. Raises RG404 RGP.NOT_FOUND.
-- Returns one row: items (an array of messages), their seqs, and stream_cursor.
create or replace function rustygpt_api.list_messages(p_actor uuid, p_conversation uuid, p_before bigint, p_limit integer)
returns table (items jsonb, seqs bigint[], stream_cursor text)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
begin
  perform require_member(p_actor, p_conversation, 'viewer');
  return query
    select coalesce(jsonb_agg(message_json(m::messages) order by m.seq desc), '[]'),
           coalesce(array_agg(m.seq order by m.seq desc), '{}'), cursor_now()
    from (
      select x.* from messages x
      where x.conversation_id = p_conversation and x.seq < coalesce(p_before, 9223372036854775807)
      order by x.seq desc limit p_limit
    ) m;
end
$$;

-- list_threads: a conversation's threads by last activity, with the actor's unread count.
-- p_before_at, p_before_root: the last item of the page before. Returns one row: items, their sort keys, stream_cursor.
-- Raises RG404 RGP.NOT_FOUND.
create or replace function rustygpt_api.list_threads(
  p_actor uuid, p_conversation uuid, p_before_at timestamptz, p_before_root uuid, p_limit integer
) returns table (items jsonb, ats timestamptz[], roots uuid[], stream_cursor text)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
begin
  perform require_member(p_actor, p_conversation, 'viewer');
  return query
    select coalesce(jsonb_agg(
             thread_json(t::threads)
             || jsonb_build_object('unread', greatest(t.last_ordinal - coalesce(r.ordinal, 0), 0))
             order by t.last_activity_at desc, t.root_id desc), '[]'),
           coalesce(array_agg(t.last_activity_at order by t.last_activity_at desc, t.root_id desc), '{}'),
           coalesce(array_agg(t.root_id order by t.last_activity_at desc, t.root_id desc), '{}'),
           cursor_now()
    from (
      select x.* from threads x
      where x.conversation_id = p_conversation
        and (p_before_at is null or (x.last_activity_at, x.root_id) < (p_before_at, p_before_root))
      order by x.last_activity_at desc, x.root_id desc limit p_limit
    ) t
    left join read_marks r on r.root_id = t.root_id and r.user_id = p_actor;
end
$$;

-- read_tree: a thread's messages by ordinal. p_after and p_before: exclusive bounds, null for none; p_newest_first: which end of
-- the range a page is cut from (items come in ordinal order all the same when false, newest first when true).
-- Returns one row: conversation_id, items, their ordinals, stream_cursor, one snapshot. Raises RG404 RGP.NOT_FOUND.
create or replace function rustygpt_api.read_tree(
  p_actor uuid, p_root uuid, p_after integer, p_before integer, p_newest_first boolean, p_limit integer
) returns table (conversation_id uuid, items jsonb, ordinals integer[], stream_cursor text)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_conversation uuid;
begin
  select t.conversation_id into v_conversation from threads t where t.root_id = p_root;
  perform require_member(p_actor, v_conversation, 'viewer');
  return query
    select v_conversation,
           coalesce(jsonb_agg(message_json(m::messages) order by case when p_newest_first then -m.ordinal else m.ordinal end), '[]'),
           coalesce(array_agg(m.ordinal order by case when p_newest_first then -m.ordinal else m.ordinal end), '{}'),
           cursor_now()
    from (
      -- Only the branch that is asked for runs, and each can stop at its limit in the index; a long thread is never sorted.
      (select x.* from messages x
       where not p_newest_first and x.root_id = p_root
         and x.ordinal > coalesce(p_after, 0) and x.ordinal < coalesce(p_before, 2147483647)
       order by x.ordinal limit p_limit)
      union all
      (select x.* from messages x
       where p_newest_first and x.root_id = p_root
         and x.ordinal > coalesce(p_after, 0) and x.ordinal < coalesce(p_before, 2147483647)
       order by x.ordinal desc limit p_limit)
    ) m;
end
$$;

-- ordinal_of: a message's place in a thread, for ?around=. Raises RG404 RGP.NOT_FOUND.
create or replace function rustygpt_api.ordinal_of(p_actor uuid, p_root uuid, p_message uuid) returns integer
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
declare
  v_message messages;
begin
  select m.* into v_message from messages m where m.id = p_message and m.root_id = p_root;
  perform require_member(p_actor, v_message.conversation_id, 'viewer');
  return v_message.ordinal;
end
$$;

-- get_message: one message with the stream's position. Raises RG404 RGP.NOT_FOUND.
create or replace function rustygpt_api.get_message(p_actor uuid, p_message uuid) returns table (message jsonb, stream_cursor text)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_message messages;
begin
  select m.* into v_message from messages m where m.id = p_message;
  perform require_member(p_actor, v_message.conversation_id, 'viewer');
  return query select message_json(v_message), cursor_now();
end
$$;

-- list_chunks: a reply's stored deltas from chunk p_start on, in order; none of one that was deleted. p_limit: 1 to 1001.
-- Raises RG404 RGP.NOT_FOUND.
create or replace function rustygpt_api.list_chunks(p_actor uuid, p_message uuid, p_start integer, p_limit integer)
returns table (idx integer, content text, created_at timestamptz)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
begin
  perform require_member(p_actor, (select m.conversation_id from messages m where m.id = p_message), 'viewer');
  return query
    select e.idx, e.content, e.created_at from event_log e
    where e.message_id = p_message and e.type = 'message.delta' and e.idx >= p_start
      and not exists (select from messages m where m.id = p_message and m.deleted_at is not null)
    order by e.idx limit p_limit;
end
$$;
