-- message_status: what a message's state is called on the wire.
create or replace function rustygpt.message_status(p_generation rustygpt.generations) returns text
language sql immutable as $$
  select case
    when p_generation.message_id is null or p_generation.state in ('done', 'length') then 'complete'
    when p_generation.state in ('queued', 'running') then case when p_generation.next_idx > p_generation.kept_idx then 'streaming' else 'queued' end
    when p_generation.state in ('cancelled', 'interrupted') then p_generation.state
    else 'error'
  end
$$;

-- finish_reason: the wire's word for how a generation ended, null while it has not.
create or replace function rustygpt.finish_reason(p_state text) returns text
language sql immutable as $$
  select case p_state
    when 'done' then 'stop' when 'length' then 'length' when 'cancelled' then 'cancelled' when 'timeout' then 'timeout'
    when 'error' then 'error' when 'interrupted' then 'error'
  end
$$;

-- reply_text: what a generation has said so far: what is kept, and after it the deltas that only the log has.
create or replace function rustygpt.reply_text(p_message uuid) returns text
language sql stable as $$
  select m.content || coalesce((
    select string_agg(e.content, '' order by e.idx) from rustygpt.event_log e
    where e.message_id = p_message and e.type = 'message.delta' and e.idx >= g.kept_idx), '')
  from rustygpt.messages m join rustygpt.generations g on g.message_id = m.id where m.id = p_message
$$;

-- usage_json: token counts, or null when the provider gave none.
create or replace function rustygpt.usage_json(p_prompt integer, p_completion integer) returns jsonb
language sql immutable as $$
  select case when p_prompt is not null then jsonb_build_object(
    'prompt_tokens', p_prompt, 'completion_tokens', p_completion, 'total_tokens', p_prompt::bigint + p_completion) end
$$;

-- sibling_count: how many replies of the assistant a message has, deleted ones included: alternatives to each other.
create or replace function rustygpt.sibling_count(p_parent uuid) returns integer
language sql stable as $$
  select coalesce(max(m.sibling_index) + 1, 0) from rustygpt.messages m where m.parent_id = p_parent and m.role = 'assistant'
$$;

-- seconds_between: how long from one time to another, to the millisecond; null where one of them is. Never below 0: clocks are set back.
create or replace function rustygpt.seconds_between(p_from timestamptz, p_to timestamptz) returns numeric
language sql immutable as $$
  select case when p_from is not null and p_to is not null then round(greatest(0, extract(epoch from p_to - p_from)), 3) end
$$;

-- timing_json: how long the last attempt of a reply took that has ended: in the queue, from its start to its first piece, and to its end;
-- and tokens a second from the first piece on, which nobody can tell of a reply that came within a tenth of a second.
create or replace function rustygpt.timing_json(p_generation rustygpt.generations) returns jsonb
language sql immutable as $$
  select jsonb_build_object(
    'queued_seconds', rustygpt.seconds_between(p_generation.queued_at, coalesce(p_generation.started_at, p_generation.finished_at)),
    'first_token_seconds', rustygpt.seconds_between(p_generation.started_at, p_generation.first_delta_at),
    'seconds', rustygpt.seconds_between(p_generation.started_at, p_generation.finished_at),
    'tokens_per_second', case when rustygpt.seconds_between(p_generation.first_delta_at, p_generation.finished_at) >= 0.1 then round(
      nullif(p_generation.completion_tokens - coalesce(p_generation.prior_completion_tokens, 0), 0)
      / rustygpt.seconds_between(p_generation.first_delta_at, p_generation.finished_at), 1) end)
$$;

-- message_json: a message as in every list and in message.created, so that a snapshot and the events agree to the letter.
create or replace function rustygpt.message_json(p_message rustygpt.messages) returns jsonb
language sql stable as $$
  select jsonb_build_object(
    'id', p_message.id, 'conversation_id', p_message.conversation_id, 'root_id', p_message.root_id,
    'parent_id', p_message.parent_id, 'ordinal', p_message.ordinal, 'depth', p_message.depth,
    'author', rustygpt.person_json(p_message.author_id), 'role', p_message.role,
    'content', case
      when p_message.deleted_at is not null then ''
      when g.state in ('queued', 'running') then rustygpt.reply_text(p_message.id)
      else p_message.content end,
    'status', rustygpt.message_status(g), 'finish_reason', rustygpt.finish_reason(g.state),
    'usage', rustygpt.usage_json(g.prompt_tokens, g.completion_tokens),
    'next_idx', coalesce(g.next_idx, 0), 'attempt', coalesce(g.attempt, 1),
    -- Which model answers is told by message.done; until then a snapshot must not know more than the events said.
    'model', case when g.state in ('queued', 'running') then coalesce(g.told_model, g.requested_model) else coalesce(g.model, g.requested_model) end,
    'error', case when g.error_code is not null
      then jsonb_build_object('code', g.error_code, 'message', g.error_message) end,
    'created_at', rustygpt.rfc3339(p_message.created_at), 'edited_at', rustygpt.rfc3339(p_message.edited_at),
    'deleted_at', rustygpt.rfc3339(p_message.deleted_at), 'deleted_by', rustygpt.person_json(p_message.deleted_by),
    'sibling_index', p_message.sibling_index,
    'sibling_count', case when p_message.role = 'assistant' then rustygpt.sibling_count(p_message.parent_id) else 1 end,
    -- As with the model: both are told by message.done.
    'context', case when g.state not in ('queued', 'running') then g.context end,
    'timing', case when g.state not in ('queued', 'running') then rustygpt.timing_json(g) end)
  from (select) one left join rustygpt.generations g on g.message_id = p_message.id
$$;

-- thread_json: a thread as in the list of threads, without the reader's own unread count.
create or replace function rustygpt.thread_json(p_thread rustygpt.threads) returns jsonb
language sql stable as $$
  select jsonb_build_object(
    'root_id', p_thread.root_id, 'root_excerpt', case when m.deleted_at is null then left(m.content, 200) else '' end,
    'root_author', rustygpt.person_json(m.author_id), 'created_at', rustygpt.rfc3339(p_thread.created_at),
    'last_activity_at', rustygpt.rfc3339(p_thread.last_activity_at), 'message_count', p_thread.message_count,
    'participant_count', (select count(*) from rustygpt.thread_participants t where t.root_id = p_thread.root_id))
  from rustygpt.messages m where m.id = p_thread.root_id
$$;
