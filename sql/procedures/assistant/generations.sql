-- claim_generation: take the queued generation whose asker has the fewest running, the oldest first among equals.
-- p_owner: this process. p_lease_seconds, p_deadline_seconds: from now, by the database's clock.
-- requested_model: of a reply that is continued, the model that wrote its beginning. next_idx: the number of its next chunk.
-- Returns one row or none. Two claims never get the same one (skip locked).
create or replace function rustygpt_api.claim_generation(
  p_owner text, p_lease_seconds double precision, p_deadline_seconds double precision
) returns table (
  message_id uuid, conversation_id uuid, root_id uuid, parent_id uuid, requested_by uuid, requested_model text, fence bigint,
  next_idx integer, queue_seconds double precision
)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_id uuid;
begin
  select g.message_id into v_id
  from generations g
  where g.state = 'queued'
  order by (select count(*) from generations r where r.requested_by = g.requested_by and r.state = 'running'), g.queued_at
  limit 1
  for no key update of g skip locked;
  return query
    update generations g
    set state = 'running', owner = p_owner, fence = g.fence + 1, started_at = clock_timestamp(),
        lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds),
        deadline_at = clock_timestamp() + make_interval(secs => p_deadline_seconds)
    from messages m
    where g.message_id = v_id and m.id = g.message_id
    returning g.message_id, g.conversation_id, m.root_id, m.parent_id, g.requested_by,
              case when g.attempt > 1 then continued_model(g) else g.requested_model end, g.fence,
              g.next_idx, extract(epoch from g.started_at - g.queued_at)::double precision;
end
$$;

-- read_prompt: what a generation answers: its message's ancestors, newest first: the question and the thread's root whatever their length, and
-- of what lies between them as much as p_characters hold beside these two. Deleted messages and empty ones do not count. Before all of them, and
-- beside the budget, comes what a reply that is continued has said already.
-- Returns rows: speaker is the person's display name, null for the assistant; step is 0 for the reply's own beginning, 1 for the question;
-- left_out, the same in every row, is how many messages of the path are not among them.
create or replace function rustygpt_api.read_prompt(p_message uuid, p_characters integer)
returns table (role text, speaker text, content text, message_id uuid, step integer, left_out integer)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  with recursive path as (
    select p.id, p.root_id, p.parent_id, p.depth, 1 as step, p.deleted_at is null as is_there,
           char_length(p.content)::bigint + coalesce(
             (select char_length(r.content) from messages r where r.id = p.root_id and r.id <> p.id and r.deleted_at is null), 0) as upto
    from messages m join messages p on p.id = m.parent_id
    where m.id = p_message
    union all
    select p.id, p.root_id, p.parent_id, p.depth, path.step + 1, p.deleted_at is null and p.content <> '',
           -- Beyond the budget lengths do not matter, and looking at them would read long texts.
           case when path.upto > p_characters or p.deleted_at is not null or p.id = p.root_id then path.upto
                else path.upto + char_length(p.content) end
    from path join messages p on p.id = path.parent_id
    where path.step < 20000  -- what lies farther is counted by depth
  ), chosen as (
    select path.id, path.step from path
    where path.is_there and (path.step = 1 or path.id = path.root_id or path.upto <= p_characters)
    union all
    select m.id, 0 from messages m where m.id = p_message and m.content <> ''
    union all
    select r.id, 20001 from messages r
    where r.id = (select path.root_id from path where path.step = 20000 and path.depth > 0) and r.deleted_at is null
  )
  select m.role, u.display_name, m.content, m.id, c.step, (
    (select count(*) from path where path.is_there and path.step > 1 and path.id <> path.root_id and path.upto > p_characters)
    + (select greatest(0, min(path.depth) - 1) from path))::integer
  from chosen c join messages m on m.id = c.id left join users u on u.id = m.author_id
  order by c.step
$$;

-- read_generation_setting: what frames a generation's prompt. members: display names, those of the first thousand to join.
create or replace function rustygpt_api.read_generation_setting(p_message uuid)
returns table (system_prompt text, title text, member_count integer, members text[], parameters jsonb)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select c.system_prompt, c.title, c.member_count, array(
    select u.display_name from members m join users u on u.id = m.user_id
    where m.conversation_id = c.id order by m.joined_at limit 1000), c.parameters
  from generations g join conversations c on c.id = g.conversation_id where g.message_id = p_message
$$;

-- name_model: record which provider and model answer, and what of the conversation they are given (see generations.context), before they are
-- asked. False when they are not to be: the fence is lost, or somebody asked for a stop before the owner could hear signals.
create or replace function rustygpt_api.name_model(p_message uuid, p_fence bigint, p_provider text, p_model text, p_context jsonb)
returns boolean
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_cancelled_at timestamptz;
begin
  update generations g set provider = p_provider, model = p_model, context = p_context
  where g.message_id = p_message and g.fence = p_fence and g.state = 'running'
  returning g.cancel_requested_at into v_cancelled_at;
  return found and v_cancelled_at is null;
end
$$;

-- renew_leases: keep the running generations of a process for p_lease_seconds more. The arrays run in parallel.
-- Returns a row for each in any order: is_lost when it ended or has another fence, is_cancelled when somebody asked for a stop.
create or replace function rustygpt_api.renew_leases(p_messages uuid[], p_fences bigint[], p_lease_seconds double precision)
returns table (message_id uuid, is_lost boolean, is_cancelled boolean)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
begin
  perform from generations g where g.message_id = any (p_messages) order by g.message_id for no key update;
  update generations g set lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
  from unnest(p_messages, p_fences) as d (message_id, fence)
  where g.message_id = d.message_id and g.fence = d.fence and g.state = 'running';
  return query
    select d.message_id, g.state is distinct from 'running' or g.fence <> d.fence, g.cancel_requested_at is not null
    from unnest(p_messages, p_fences) as d (message_id, fence)
    left join generations g on g.message_id = d.message_id;
end
$$;

-- add_tokens: the sum of two counts, of which either may be unknown; null when both are. Never more than an integer holds.
create or replace function rustygpt.add_tokens(p_prior integer, p_more integer) returns integer
language sql immutable as $$
  select case when p_prior is not null or p_more is not null
    then least(2147483647, coalesce(p_prior, 0)::bigint + coalesce(p_more, 0))::integer end
$$;

-- end_generation: close a generation whose row the caller has locked: final text, usage, events. Returns the last position.
-- p_state: done, length, cancelled, timeout, error or interrupted. p_error_code and p_error_message: null unless it failed.
-- p_prompt_tokens and p_completion_tokens: of this attempt; what is told is the sum of all attempts.
-- What was reserved of the asker's quota is settled. Emits message.done, then error where there is one, then thread.activity.
-- Locks thread, the reservation, event_head.
create or replace function rustygpt.end_generation(
  p_message uuid, p_state text, p_prompt_tokens integer, p_completion_tokens integer, p_error_code text, p_error_message text
) returns bigint
language plpgsql as $$
declare
  v_generation rustygpt.generations;
  v_root uuid;
  v_characters integer;
begin
  update rustygpt.messages set content = rustygpt.reply_text(p_message) where id = p_message
  returning root_id, char_length(content) into v_root, v_characters;
  update rustygpt.threads set last_activity_at = clock_timestamp() where root_id = v_root;
  update rustygpt.generations
  set state = p_state, finished_at = clock_timestamp(), fence = fence + case when p_state = 'interrupted' then 1 else 0 end,
      kept_idx = next_idx, prompt_tokens = rustygpt.add_tokens(prior_prompt_tokens, p_prompt_tokens),
      completion_tokens = rustygpt.add_tokens(prior_completion_tokens, p_completion_tokens),
      error_code = p_error_code, error_message = p_error_message
  where message_id = p_message returning * into v_generation;
  perform rustygpt.settle_reply(v_generation, p_prompt_tokens, p_completion_tokens, v_characters);
  perform rustygpt.append_event(v_generation.conversation_id, null, 'message.done', v_root, p_message, jsonb_build_object(
    'message_id', p_message, 'root_id', v_root, 'finish_reason', rustygpt.finish_reason(p_state),
    'usage', rustygpt.usage_json(v_generation.prompt_tokens, v_generation.completion_tokens), 'chunks', v_generation.next_idx,
    'model', coalesce(v_generation.model, v_generation.requested_model), 'attempt', v_generation.attempt,
    'context', v_generation.context, 'timing', rustygpt.timing_json(v_generation)));
  if p_error_code is not null then
    perform rustygpt.append_event(v_generation.conversation_id, null, 'error', v_root, p_message,
      jsonb_build_object('code', p_error_code, 'message', p_error_message, 'message_id', p_message, 'attempt', v_generation.attempt));
  end if;
  return rustygpt.tell_thread_activity(v_root);
end
$$;

-- lock_generation: the generation's row, taken after its conversation's, as the lock order wants.
create or replace function rustygpt.lock_generation(p_message uuid) returns rustygpt.generations
language plpgsql as $$
declare
  v_generation rustygpt.generations;
begin
  perform from rustygpt.conversations c
  where c.id = (select g.conversation_id from rustygpt.generations g where g.message_id = p_message)
  for no key update;
  perform from rustygpt.threads t
  where t.root_id = (select m.root_id from rustygpt.messages m where m.id = p_message)
  for no key update;
  select * into v_generation from rustygpt.generations g where g.message_id = p_message for no key update;
  return v_generation;
end
$$;

-- finish_generation: the owner's last word. p_state: done, length, cancelled, timeout or error. The text is what the chunks say.
-- Returns status finished (also when this very call was made before) or refused (fence lost), and the
-- position to announce. Locks conversation, thread, generation, event_head. Emits message.done, error, thread.activity.
create or replace function rustygpt_api.finish_generation(
  p_message uuid, p_fence bigint, p_state text, p_prompt_tokens integer, p_completion_tokens integer,
  p_error_code text, p_error_message text
) returns table (status text, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_generation generations := lock_generation(p_message);
begin
  if v_generation.fence = p_fence and v_generation.state = 'running' then
    return query select 'finished', end_generation(
      p_message, p_state, p_prompt_tokens, p_completion_tokens, p_error_code, p_error_message);
  else
    return query select case when v_generation.fence = p_fence then 'finished' else 'refused' end,
                        (select h.position from event_head h);
  end if;
end
$$;

-- cancel_generation: stop a reply, whoever runs it, from its queueing on. Twice is once.
-- Returns the message's status as it is now, whether its runner must still be told, and the position to announce (null when nothing
-- was written). Raises RG404 RGP.NOT_FOUND, RG403 RGP.RBAC.FORBIDDEN (viewers). Locks and emits as finish_generation.
create or replace function rustygpt_api.cancel_generation(p_actor uuid, p_message uuid)
returns table (status text, is_running boolean, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_generation generations;
  v_position bigint;
begin
  perform require_member(p_actor, (select m.conversation_id from messages m where m.id = p_message), 'member');
  v_generation := lock_generation(p_message);
  if v_generation.message_id is null then
    perform fail('RG409', 'RGP.CONFLICT', 'This message is not a reply of the assistant.');
  end if;
  if v_generation.state = 'queued' or (v_generation.state = 'running' and v_generation.lease_until < clock_timestamp()) then
    update generations g set cancel_requested_at = coalesce(g.cancel_requested_at, clock_timestamp()), fence = g.fence + 1
    where g.message_id = p_message;
    v_position := end_generation(p_message, 'cancelled', null, null, null, null);
  elsif v_generation.state = 'running' then
    update generations g set cancel_requested_at = coalesce(g.cancel_requested_at, clock_timestamp()) where g.message_id = p_message;
  end if;
  select g.* into v_generation from generations g where g.message_id = p_message;
  return query select message_status(v_generation), v_generation.state = 'running', v_position;
end
$$;

-- reap_generations: close generations whose owner is gone, keeping their partial text.
-- p_running: those that the calling process is running itself; never reaped. p_is_alone: the caller holds the database for itself,
-- so every other running one is orphaned; else only those whose lease has run out. p_limit: how many at most.
-- Returns a row for each, with how it ended (interrupted, or cancelled where somebody had asked for that) and the position to announce.
-- Emits message.done, error generation_interrupted unless cancelled, thread.activity.
-- Locks all conversations, then all threads, then all generations, each in the order of their ids, and event_head last: closing them
-- one by one would hold the log while waiting for the next conversation, whose holder waits for the log.
create or replace function rustygpt_api.reap_generations(p_running uuid[], p_is_alone boolean, p_limit integer)
returns table (message_id uuid, state text, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_ids uuid[] := array(
    select g.message_id from generations g
    where g.state = 'running' and g.message_id <> all (p_running) and (p_is_alone or g.lease_until < clock_timestamp())
    order by g.message_id limit p_limit);
  v_id uuid;
  v_is_cancelled boolean;
begin
  perform from conversations c
  where c.id in (select g.conversation_id from generations g where g.message_id = any (v_ids)) order by c.id for no key update;
  perform from threads t
  where t.root_id in (select m.root_id from messages m where m.id = any (v_ids)) order by t.root_id for no key update;
  perform from generations g where g.message_id = any (v_ids) order by g.message_id for no key update;
  for v_id, v_is_cancelled in
    select g.message_id, g.cancel_requested_at is not null from generations g
    where g.message_id = any (v_ids) and g.state = 'running' and (p_is_alone or g.lease_until < clock_timestamp())
    order by g.message_id
  loop
    if v_is_cancelled then
      update generations g set fence = g.fence + 1 where g.message_id = v_id;
      return query select v_id, 'cancelled', end_generation(v_id, 'cancelled', null, null, null, null);
    else
      return query select v_id, 'interrupted', end_generation(v_id, 'interrupted', null, null, 'generation_interrupted',
        'The server stopped while this was being written.'
        || (select case when g.next_idx > 0 then ' What had been said is kept.' else '' end from generations g where g.message_id = v_id));
    end if;
  end loop;
end
$$;

-- stop_conversation: end every reply of a conversation that waits or runs, as cancelled and for good: its owner's fence is lost.
-- The caller has locked the conversation. Returns those that ran, whose owners should be told. Emits and locks as end_generation.
create or replace function rustygpt.stop_conversation(p_conversation uuid) returns uuid[]
language plpgsql as $$
declare
  v_ids uuid[] := array(
    select g.message_id from rustygpt.generations g
    where g.conversation_id = p_conversation and g.state in ('queued', 'running') order by g.message_id);
  v_running uuid[];
  v_id uuid;
begin
  perform from rustygpt.threads t
  where t.root_id in (select m.root_id from rustygpt.messages m where m.id = any (v_ids)) order by t.root_id for no key update;
  perform from rustygpt.generations g where g.message_id = any (v_ids) order by g.message_id for no key update;
  v_running := array(select g.message_id from rustygpt.generations g where g.message_id = any (v_ids) and g.state = 'running');
  for v_id in
    update rustygpt.generations g set fence = g.fence + 1, cancel_requested_at = coalesce(g.cancel_requested_at, clock_timestamp())
    where g.message_id = any (v_ids) and g.state in ('queued', 'running') returning g.message_id
  loop
    perform rustygpt.end_generation(v_id, 'cancelled', null, null, null, null);
  end loop;
  return v_running;
end
$$;
