-- Another reply beside the one there is: a sibling of it, written by the same model or by another.

-- require_regenerable: raises RG409 RGP.CONFLICT unless p_question may get one reply more: neither it nor p_message, which is it or a
-- reply to it, was deleted, no reply to it is being written, and the conversation's assistant is not switched off.
create or replace function rustygpt.require_regenerable(p_message uuid, p_question uuid) returns void
language plpgsql stable as $$
begin
  if exists (select from rustygpt.messages m where m.id = p_message and m.deleted_at is not null) then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'This message was deleted.');
  elsif exists (select from rustygpt.messages m where m.id = p_question and m.deleted_at is not null) then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'What this message answers was deleted.');
  elsif exists (
    select from rustygpt.messages m join rustygpt.conversations c on c.id = m.conversation_id
    where m.id = p_question and c.assistant_mode = 'off') then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'The assistant is switched off in this conversation.');
  elsif exists (
    select from rustygpt.messages m join rustygpt.generations g on g.message_id = m.id
    where m.parent_id = p_question and g.state in ('queued', 'running')) then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'A reply to this is still being written.');
  end if;
end
$$;

-- regeneration_fingerprint: a digest of what regenerating asks for: the same key must ask for the same.
create or replace function rustygpt.regeneration_fingerprint(p_message uuid, p_model text) returns text
language sql immutable as $$
  select md5(jsonb_build_array(p_message, p_model)::text)
$$;

-- read_regeneration: what regenerating p_message would need, without doing it. p_model: the model asked for, or null.
-- Returns the answer given earlier for p_key, or null; the model that would write where p_model names none and the text addresses none
-- (null: the default); and that text: what a person wrote, null for a reply, whose model was chosen before.
-- Raises RG404 RGP.NOT_FOUND, RG403 RGP.RBAC.FORBIDDEN (viewers), RG409 RGP.CONFLICT (see require_regenerable, or the key used otherwise).
create or replace function rustygpt_api.read_regeneration(p_actor uuid, p_message uuid, p_model text, p_key text)
returns table (answer jsonb, model text, content text)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_message messages;
  v_answer jsonb;
begin
  select m.* into v_message from messages m where m.id = p_message;
  perform require_member(p_actor, v_message.conversation_id, 'member');
  v_answer := find_answer(p_actor, 'regenerate', p_key, regeneration_fingerprint(p_message, p_model));
  if v_answer is null then
    perform require_regenerable(p_message, case when v_message.role = 'assistant' then v_message.parent_id else p_message end);
  end if;
  return query
    select v_answer, coalesce((select g.requested_model from generations g where g.message_id = p_message), c.model),
           case when v_message.role = 'user' then v_message.content end
    from conversations c where c.id = v_message.conversation_id;
end
$$;

-- regenerate_message: queue another reply: to what p_message answers, or to p_message itself where a person wrote it.
-- p_model: the model asked for, null leaves it to p_chosen. p_chosen: who writes then, as read_regeneration and the text said; null is the
-- server's default. p_key: idempotency key or null. p_max_queued, p_max_queued_per_user: see require_queue_place.
-- Returns the answer of POST …/regenerate and the position to announce (null when the answer is an earlier one).
-- Raises as read_regeneration, limit_posting, require_queue_place and reserve_reply: then nothing is stored.
-- Emits message.created, thread.activity. Locks conversation, limit_states, queue, thread, quota_periods, event_head.
create or replace function rustygpt_api.regenerate_message(
  p_actor uuid, p_message uuid, p_model text, p_chosen text, p_key text, p_max_queued integer, p_max_queued_per_user integer
) returns table (answer jsonb, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_conversation conversations;
  v_question messages;
  v_reply messages;
  v_answer jsonb;
begin
  select c.* into v_conversation from conversations c
  where c.id = (select m.conversation_id from messages m where m.id = p_message) for no key update;
  perform require_member(p_actor, v_conversation.id, 'member');
  v_answer := recall_answer(p_actor, 'regenerate', p_key, regeneration_fingerprint(p_message, p_model));
  if v_answer is not null then
    return query select v_answer, null::bigint;
    return;
  end if;
  select q.* into v_question from messages m join messages q on q.id = case when m.role = 'assistant' then m.parent_id else m.id end
  where m.id = p_message;
  perform require_regenerable(p_message, v_question.id);
  perform limit_posting(p_actor, v_conversation.id);
  perform require_queue_place(p_actor, p_max_queued, p_max_queued_per_user);
  v_reply := insert_message(v_conversation.id, v_question.root_id, v_question.id, v_question.depth + 1, null, 'assistant', '');
  insert into generations (message_id, conversation_id, requested_by, requested_model)
  values (v_reply.id, v_conversation.id, p_actor, coalesce(p_model, p_chosen));
  perform reserve_reply(p_actor, v_reply.id);
  v_answer := jsonb_build_object(
    'message_id', v_reply.id, 'root_id', v_reply.root_id, 'conversation_id', v_conversation.id,
    'parent_id', v_reply.parent_id, 'depth', v_reply.depth,
    'generation', jsonb_build_object('message_id', v_reply.id, 'state', 'queued'));
  perform keep_answer(p_actor, 'regenerate', p_key, v_answer);
  perform append_event(v_conversation.id, null, 'message.created', v_reply.root_id, v_reply.id,
    jsonb_build_object('message', message_json(v_reply)));
  return query select v_answer, tell_thread_activity(v_reply.root_id);
end
$$;
