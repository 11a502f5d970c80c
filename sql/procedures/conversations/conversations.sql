-- effective_mode: when the assistant answers by itself: always, mention or off. Without a choice: always alone, mention in company.
create or replace function rustygpt.effective_mode(p_mode text, p_member_count integer) returns text
language sql immutable as $$
  select coalesce(p_mode, case when p_member_count > 1 then 'mention' else 'always' end)
$$;

-- conversation_json: one conversation as a member sees it in lists. Null when the user is not in it.
create or replace function rustygpt.conversation_json(p_conversation uuid, p_user uuid) returns jsonb
language sql stable as $$
  select jsonb_build_object(
    'id', c.id, 'title', c.title, 'role', m.role, 'is_group', c.is_group, 'member_count', c.member_count,
    'created_at', rustygpt.rfc3339(c.created_at), 'last_activity_at', rustygpt.rfc3339(c.last_activity_at),
    'unread', rustygpt.unread_in_conversation(p_user, c.id), 'model', c.model, 'system_prompt', c.system_prompt,
    'parameters', c.parameters,
    'assistant_mode', rustygpt.effective_mode(c.assistant_mode, c.member_count))
  from rustygpt.conversations c
  join rustygpt.members m on m.conversation_id = c.id and m.user_id = p_user
  where c.id = p_conversation
$$;

-- conversation_fingerprint: a digest of what making a conversation asks for: the same key must ask for the same.
create or replace function rustygpt.conversation_fingerprint(
  p_title text, p_is_group boolean, p_model text, p_system_prompt text, p_assistant_mode text, p_parameters jsonb
) returns text
language sql immutable as $$
  select md5(jsonb_build_array(p_title, p_is_group, p_model, p_system_prompt, p_assistant_mode, p_parameters)::text)
$$;

-- recall_conversation: what create_conversation answered earlier for p_key, or null. Nothing is done.
-- Raises RG409 RGP.CONFLICT for a key used otherwise.
create or replace function rustygpt_api.recall_conversation(
  p_actor uuid, p_title text, p_is_group boolean, p_model text, p_system_prompt text, p_assistant_mode text, p_parameters jsonb,
  p_key text
) returns table (answer jsonb)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select find_answer(p_actor, 'conversation', p_key,
    conversation_fingerprint(p_title, p_is_group, p_model, p_system_prompt, p_assistant_mode, p_parameters))
$$;

-- create_conversation: make one, with the actor as its owner.
-- p_title: at most 200 characters. p_assistant_mode: always, mention, off or null.
-- p_parameters: how the model samples, an object. p_key: the client's idempotency key or null.
-- Returns the conversation and the position to announce (null when the answer is an earlier one).
-- Raises RG409 RGP.CONFLICT for a key used otherwise. Emits membership.changed.
create or replace function rustygpt_api.create_conversation(
  p_actor uuid, p_title text, p_is_group boolean, p_model text, p_system_prompt text, p_assistant_mode text, p_parameters jsonb,
  p_key text
) returns table (conversation jsonb, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_id uuid;
  v_answer jsonb;
  v_position bigint;
begin
  v_answer := recall_answer(p_actor, 'conversation', p_key,
    conversation_fingerprint(p_title, p_is_group, p_model, p_system_prompt, p_assistant_mode, p_parameters));
  if v_answer is not null then
    return query select v_answer, null::bigint;
    return;
  end if;
  insert into conversations (title, is_group, model, system_prompt, assistant_mode, parameters, created_by)
  values (p_title, p_is_group, p_model, p_system_prompt, p_assistant_mode, p_parameters, p_actor)
  returning id into v_id;
  v_position := add_member(v_id, p_actor, 'owner');
  v_answer := conversation_json(v_id, p_actor);
  perform keep_answer(p_actor, 'conversation', p_key, v_answer);
  return query select v_answer, v_position;
end
$$;

-- list_conversations: the actor's conversations, the most recently active first.
-- p_before_at and p_before_id: the last item of the page before, null for the first page. p_limit: 1 to 201.
-- Returns one row: items, their sort keys, and stream_cursor, all from one snapshot.
create or replace function rustygpt_api.list_conversations(
  p_actor uuid, p_before_at timestamptz, p_before_id uuid, p_limit integer
) returns table (items jsonb, ats timestamptz[], ids uuid[], stream_cursor text)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select coalesce(jsonb_agg(conversation_json(c.id, p_actor) order by c.last_activity_at desc, c.id desc), '[]'),
         coalesce(array_agg(c.last_activity_at order by c.last_activity_at desc, c.id desc), '{}'),
         coalesce(array_agg(c.id order by c.last_activity_at desc, c.id desc), '{}'),
         cursor_now()
  from (
    select x.id, x.last_activity_at
    from members m
    join conversations x on x.id = m.conversation_id
    where m.user_id = p_actor and x.archived_at is null
      and (p_before_at is null or (x.last_activity_at, x.id) < (p_before_at, p_before_id))
    order by x.last_activity_at desc, x.id desc
    limit p_limit
  ) c
$$;

-- get_conversation: one conversation as the actor sees it. Raises RG404 RGP.NOT_FOUND.
create or replace function rustygpt_api.get_conversation(p_actor uuid, p_conversation uuid) returns jsonb
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
begin
  perform require_member(p_actor, p_conversation, 'viewer');
  return conversation_json(p_conversation, p_actor);
end
$$;

-- update_conversation: change what p_changes names: title, model, system_prompt, parameters (as a whole), assistant_mode,
-- is_group, archived (true only).
-- Owners and admins; archiving is for owners, and stops the replies that wait or run.
-- Returns the conversation as it was left, the position to announce, and the running replies that were stopped.
-- Raises RG404 RGP.NOT_FOUND, RG403 RGP.RBAC.FORBIDDEN. Emits conversation.updated with the changed fields, the last event of a
-- conversation that is archived.
create or replace function rustygpt_api.update_conversation(p_actor uuid, p_conversation uuid, p_changes jsonb)
returns table (conversation jsonb, "position" bigint, stopped uuid[])
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_archive boolean := coalesce((p_changes ->> 'archived')::boolean, false);
  v_told jsonb := p_changes - 'archived';
  v_stopped uuid[] := '{}';
begin
  perform from conversations c where c.id = p_conversation for no key update;
  perform require_member(p_actor, p_conversation, case when v_archive then 'owner' else 'admin' end);
  update conversations c set
    title = case when p_changes ? 'title' then p_changes ->> 'title' else c.title end,
    model = case when p_changes ? 'model' then p_changes ->> 'model' else c.model end,
    system_prompt = case when p_changes ? 'system_prompt' then p_changes ->> 'system_prompt' else c.system_prompt end,
    parameters = case when p_changes ? 'parameters' then p_changes -> 'parameters' else c.parameters end,
    assistant_mode = case when p_changes ? 'assistant_mode' then p_changes ->> 'assistant_mode' else c.assistant_mode end,
    is_group = case when p_changes ? 'is_group' then (p_changes ->> 'is_group')::boolean else c.is_group end,
    archived_at = case when v_archive then clock_timestamp() else c.archived_at end
  where c.id = p_conversation;
  if p_changes ? 'assistant_mode' then
    v_told := v_told || jsonb_build_object('assistant_mode',
      (select effective_mode(c.assistant_mode, c.member_count) from conversations c where c.id = p_conversation));
  end if;
  if v_archive then
    v_stopped := stop_conversation(p_conversation);
    v_told := v_told || jsonb_build_object('archived_at',
      (select rfc3339(c.archived_at) from conversations c where c.id = p_conversation));
  end if;
  return query select conversation_json(p_conversation, p_actor),
                      append_event(p_conversation, null, 'conversation.updated', null, null, v_told), v_stopped;
end
$$;
