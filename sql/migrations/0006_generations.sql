-- Generations: one run of a model producing one assistant message. Owned by a lease and a fence; all times by the database clock.

create table rustygpt.generations (
  message_id uuid constraint generations_pkey primary key constraint generations_message_id_fkey references rustygpt.messages,
  conversation_id uuid not null constraint generations_conversation_id_fkey references rustygpt.conversations,
  requested_by uuid not null constraint generations_requested_by_fkey references rustygpt.users,
  requested_model text,
  model text,
  provider text,
  state text not null default 'queued' constraint generations_state
    check (state in ('queued', 'running', 'done', 'length', 'cancelled', 'timeout', 'error', 'interrupted')),
  owner text,
  fence bigint not null default 0,
  lease_until timestamptz,
  cancel_requested_at timestamptz,
  deadline_at timestamptz,
  next_idx integer not null default 0,
  prompt_tokens integer,
  completion_tokens integer,
  error_code text,
  error_message text,
  created_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  first_delta_at timestamptz,
  finished_at timestamptz
) with (fillfactor = 50);
create index generations_conversation_id_idx on rustygpt.generations (conversation_id);
create index generations_requested_by_idx on rustygpt.generations (requested_by);
create index generations_open_idx on rustygpt.generations (state, created_at) where state in ('queued', 'running');
comment on column rustygpt.generations.requested_model is 'what the person asked for; null leaves it to the conversation or the server';
comment on column rustygpt.generations.fence is 'raised by each claim and each reaping: an append with an older fence is refused';
