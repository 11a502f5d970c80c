-- insert_message: put one message at the end of its thread. The caller holds the conversation's row lock.
-- p_root: null starts a thread. Returns the message. Locks the thread, then the author's membership. A reply of the assistant becomes the
-- last of those to the same parent: the conversation's lock keeps their numbers dense.
-- One time serves message, thread and conversation, so that message.created tells all three; it never falls within a conversation.
create or replace function rustygpt.insert_message(
  p_conversation uuid, p_root uuid, p_parent uuid, p_depth integer, p_author uuid, p_role text, p_content text
) returns rustygpt.messages
language plpgsql as $$
declare
  v_id uuid := rustygpt.new_uuid();
  v_root uuid := coalesce(p_root, v_id);
  v_seq bigint;
  v_at timestamptz;
  v_ordinal integer;
  v_message rustygpt.messages;
begin
  update rustygpt.conversations set last_seq = last_seq + 1, last_activity_at = greatest(last_activity_at, clock_timestamp())
  where id = p_conversation returning last_seq, last_activity_at into v_seq, v_at;
  insert into rustygpt.threads as t (root_id, conversation_id, created_at, last_activity_at, message_count, last_ordinal)
  values (v_root, p_conversation, v_at, v_at, 1, 1)
  on conflict (root_id) do update
  set message_count = t.message_count + 1, last_ordinal = t.last_ordinal + 1, last_activity_at = v_at
  returning t.last_ordinal into v_ordinal;
  insert into rustygpt.messages
    (id, conversation_id, root_id, parent_id, seq, ordinal, depth, author_id, role, content, created_at, sibling_index)
  values (v_id, p_conversation, v_root, p_parent, v_seq, v_ordinal, p_depth, p_author, p_role, p_content, v_at,
          case when p_role = 'assistant' then rustygpt.sibling_count(p_parent) else 0 end)
  returning * into v_message;
  if p_author is not null then
    insert into rustygpt.thread_participants (root_id, user_id) values (v_root, p_author) on conflict do nothing;
    perform rustygpt.move_mark(p_author, p_conversation, v_root, v_ordinal);
  end if;
  return v_message;
end
$$;

-- tell_thread_activity: append thread.activity: all that a message changes of a thread in the list. Returns its position.
create or replace function rustygpt.tell_thread_activity(p_root uuid) returns bigint
language sql volatile as $$
  select rustygpt.append_event(t.conversation_id, null, 'thread.activity', t.root_id, null, jsonb_build_object(
    'root_id', t.root_id, 'last_activity_at', rustygpt.rfc3339(t.last_activity_at), 'message_count', t.message_count,
    'participant_count', (select count(*) from rustygpt.thread_participants p where p.root_id = t.root_id)))
  from rustygpt.threads t where t.root_id = p_root
$$;

-- post_fingerprint: a digest of what a post asks for: the same key must ask for the same.
create or replace function rustygpt.post_fingerprint(p_conversation uuid, p_parent uuid, p_content text, p_model text) returns text
language sql immutable as $$
  select md5(jsonb_build_array(p_conversation, p_parent, p_content, p_model)::text)
$$;

-- recall_post: the answer that post_message gave earlier for p_key, or null. Nothing is done.
-- Raises RG404 RGP.NOT_FOUND, RG403 RGP.RBAC.FORBIDDEN (viewers), RG409 RGP.CONFLICT (key used otherwise).
create or replace function rustygpt_api.recall_post(
  p_actor uuid, p_conversation uuid, p_parent uuid, p_content text, p_model text, p_key text
) returns table (answer jsonb)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
declare
  v_conversation uuid := coalesce(p_conversation, (select m.conversation_id from messages m where m.id = p_parent));
begin
  perform require_member(p_actor, v_conversation, 'member');
  return query select find_answer(p_actor, 'message', p_key, post_fingerprint(v_conversation, p_parent, p_content, p_model));
end
$$;

-- post_message: say something, in a new thread or in answer to a message, and queue a reply where the assistant is addressed.
-- p_conversation: null takes the parent's. p_parent: the message answered, null for a new thread. p_model: a model asked for, which
-- addresses it. p_mention: how the text addresses the assistant: null not at all, '' by its general name, else a model.
-- p_key: idempotency key or null. p_max_queued, p_max_queued_per_user: see require_queue_place.
-- Returns the answer of POST …/messages, the position to announce (null when the answer is an earlier one), and whether a
-- generation was queued. Raises RG404 RGP.NOT_FOUND, RG403 RGP.RBAC.FORBIDDEN (viewers), RG409 RGP.CONFLICT (key used otherwise),
-- RG429 RGP.RATE_LIMITED when the member posts too fast, and RG429 or RG503 RGP.UNAVAILABLE when the reply cannot be queued or is over
-- the member's quota: then nothing is stored.
-- Emits message.created, unread.update to the actor alone where there was something unread in the thread, thread.new or
-- thread.activity, and message.created of the reply.
-- Locks conversation, limit_states, queue, thread, quota_periods, event_head.
create or replace function rustygpt_api.post_message(
  p_actor uuid, p_conversation uuid, p_parent uuid, p_content text, p_model text, p_mention text, p_key text,
  p_max_queued integer default null, p_max_queued_per_user integer default null
) returns table (answer jsonb, "position" bigint, is_queued boolean)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_conversation conversations;
  v_parent messages;
  v_message messages;
  v_reply messages;
  v_answer jsonb;
  v_position bigint;
  v_mode text;
  v_is_answered boolean;
  v_was_unread boolean;
begin
  select c.* into v_conversation from conversations c
  where c.id = coalesce(p_conversation, (select m.conversation_id from messages m where m.id = p_parent))
  for no key update;
  perform require_member(p_actor, v_conversation.id, 'member');
  v_answer := recall_answer(p_actor, 'message', p_key, post_fingerprint(v_conversation.id, p_parent, p_content, p_model));
  if v_answer is not null then
    return query select v_answer, null::bigint, false;
    return;
  end if;
  if p_parent is not null then
    select m.* into v_parent from messages m where m.id = p_parent and m.conversation_id = v_conversation.id;
    if v_parent.id is null then
      perform fail('RG404', 'RGP.NOT_FOUND', 'The message to answer is not in this conversation.');
    end if;
  end if;

  perform limit_posting(p_actor, v_conversation.id);
  v_mode := effective_mode(v_conversation.assistant_mode, v_conversation.member_count);
  v_is_answered := v_mode = 'always' or (v_mode = 'mention' and (p_model is not null or p_mention is not null));
  if v_is_answered then
    perform require_queue_place(p_actor, p_max_queued, p_max_queued_per_user);
  end if;
  v_was_unread := exists (
    select from threads t left join read_marks r on r.root_id = t.root_id and r.user_id = p_actor
    where t.root_id = v_parent.root_id and t.last_ordinal > coalesce(r.ordinal, 0));
  v_message := insert_message(v_conversation.id, v_parent.root_id, v_parent.id, coalesce(v_parent.depth + 1, 0), p_actor, 'user', p_content);
  if v_is_answered then
    v_reply := insert_message(v_conversation.id, v_message.root_id, v_message.id, v_message.depth + 1, null, 'assistant', '');
    insert into generations (message_id, conversation_id, requested_by, requested_model)
    values (v_reply.id, v_conversation.id, p_actor, coalesce(p_model, nullif(p_mention, ''), v_conversation.model));
    perform reserve_reply(p_actor, v_reply.id);
  end if;
  v_answer := jsonb_build_object(
    'message_id', v_message.id, 'root_id', v_message.root_id, 'conversation_id', v_conversation.id,
    'parent_id', v_message.parent_id, 'depth', v_message.depth,
    'generation', case when v_reply.id is not null then jsonb_build_object('message_id', v_reply.id, 'state', 'queued') end);
  perform keep_answer(p_actor, 'message', p_key, v_answer);

  v_position := append_event(v_conversation.id, null, 'message.created', v_message.root_id, v_message.id,
    jsonb_build_object('message', message_json(v_message)));
  if v_was_unread then
    v_position := tell_mark(p_actor, v_conversation.id, v_message.root_id, 0, v_message.ordinal);
  end if;
  if v_parent.id is null then
    v_position := append_event(v_conversation.id, null, 'thread.new', v_message.root_id, null,
      jsonb_build_object('root_id', v_message.root_id,
        'summary', (select thread_json(t) from threads t where t.root_id = v_message.root_id)));
  end if;
  if v_reply.id is not null then
    v_position := append_event(v_conversation.id, null, 'message.created', v_reply.root_id, v_reply.id,
      jsonb_build_object('message', message_json(v_reply)));
  end if;
  if v_parent.id is not null or v_reply.id is not null then
    v_position := tell_thread_activity(v_message.root_id);
  end if;
  return query select v_answer, v_position, v_reply.id is not null;
end
$$;
