-- Continuing a reply that stopped before its end: the same message runs again, from the next chunk on.

-- continued_model: which model continues a reply: the one that wrote the beginning, as provider/model; else what was asked for.
create or replace function rustygpt.continued_model(p_generation rustygpt.generations) returns text
language sql immutable as $$
  select case when p_generation.model is not null
    then p_generation.provider || '/' || p_generation.model else p_generation.requested_model end
$$;

-- require_continuable: raises RG409 RGP.CONFLICT unless the message is a reply that stopped before its end, neither it nor what it
-- answers was deleted, and the conversation's assistant is not switched off.
create or replace function rustygpt.require_continuable(p_message uuid) returns void
language plpgsql stable as $$
declare
  v_state text;
  v_deleted_at timestamptz;
  v_question_deleted_at timestamptz;
  v_mode text;
begin
  select g.state, m.deleted_at, q.deleted_at, c.assistant_mode into v_state, v_deleted_at, v_question_deleted_at, v_mode
  from rustygpt.messages m join rustygpt.conversations c on c.id = m.conversation_id
  left join rustygpt.messages q on q.id = m.parent_id
  left join rustygpt.generations g on g.message_id = m.id where m.id = p_message;
  if v_state is null then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'This message is not a reply of the assistant.');
  elsif v_deleted_at is not null then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'This message was deleted.');
  elsif v_question_deleted_at is not null then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'What this message answers was deleted.');
  elsif v_mode = 'off' then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'The assistant is switched off in this conversation.');
  elsif v_state in ('queued', 'running') then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'This reply is still being written.');
  elsif v_state = 'done' then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'This reply is complete.');
  end if;
end
$$;

-- read_continuation: what continuing p_message would need, without doing it.
-- Returns the answer given earlier for p_key, or null, and the model that would write (null: the default).
-- Raises RG404 RGP.NOT_FOUND, RG403 RGP.RBAC.FORBIDDEN (viewers), RG409 RGP.CONFLICT (not stopped early, or the key used otherwise).
create or replace function rustygpt_api.read_continuation(p_actor uuid, p_message uuid, p_key text)
returns table (answer jsonb, model text)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_answer jsonb;
begin
  perform require_member(p_actor, (select m.conversation_id from messages m where m.id = p_message), 'member');
  v_answer := find_answer(p_actor, 'continue', p_key, p_message::text);
  if v_answer is null then
    perform require_continuable(p_message);
  end if;
  return query select v_answer, continued_model(g) from generations g where g.message_id = p_message;
end
$$;

-- continue_generation: queue a reply again that stopped before its end. Its text stays and its chunks are numbered on; p_actor is now
-- who asked. p_max_queued, p_max_queued_per_user: see require_queue_place. p_key: idempotency key or null.
-- Returns the answer of POST …/continue and the position to announce (null when the answer is an earlier one).
-- Raises as read_continuation, require_queue_place and reserve_reply. Emits message.continued.
-- Locks conversation, thread, generation, queue, quota_periods, event_head.
create or replace function rustygpt_api.continue_generation(
  p_actor uuid, p_message uuid, p_key text, p_max_queued integer, p_max_queued_per_user integer
) returns table (answer jsonb, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_generation generations;
  v_root uuid;
  v_answer jsonb;
begin
  v_generation := lock_generation(p_message);
  perform require_member(p_actor, (select m.conversation_id from messages m where m.id = p_message), 'member');
  v_answer := recall_answer(p_actor, 'continue', p_key, p_message::text);
  if v_answer is not null then
    return query select v_answer, null::bigint;
    return;
  end if;
  perform require_continuable(p_message);
  perform require_queue_place(p_actor, p_max_queued, p_max_queued_per_user);
  update generations g
  set state = 'queued', attempt = g.attempt + 1, fence = g.fence + 1, kept_idx = g.next_idx, queued_at = clock_timestamp(),
      requested_by = p_actor, told_model = coalesce(g.model, g.requested_model),
      prior_prompt_tokens = g.prompt_tokens, prior_completion_tokens = g.completion_tokens,
      prompt_tokens = null, completion_tokens = null, error_code = null, error_message = null,
      owner = null, lease_until = null, cancel_requested_at = null, deadline_at = null,
      context = null, started_at = null, first_delta_at = null, finished_at = null
  where g.message_id = p_message
  returning g.* into v_generation;
  perform reserve_reply(p_actor, p_message);
  select m.root_id into v_root from messages m where m.id = p_message;
  v_answer := jsonb_build_object(
    'message_id', p_message, 'root_id', v_root, 'conversation_id', v_generation.conversation_id,
    'status', 'queued', 'next_idx', v_generation.next_idx, 'attempt', v_generation.attempt);
  perform keep_answer(p_actor, 'continue', p_key, v_answer);
  return query select v_answer, append_event(v_generation.conversation_id, null, 'message.continued', v_root, p_message,
    jsonb_build_object('message_id', p_message, 'root_id', v_root, 'next_idx', v_generation.next_idx, 'attempt', v_generation.attempt));
end
$$;
