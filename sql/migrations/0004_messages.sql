-- Threads, messages, read marks. A thread is a list in time order with parents: ordinal is dense per thread.

create table rustygpt.threads (
  root_id uuid constraint threads_pkey primary key,
  conversation_id uuid not null constraint threads_conversation_id_fkey references rustygpt.conversations,
  created_at timestamptz not null default clock_timestamp(),
  last_activity_at timestamptz not null default clock_timestamp(),
  message_count integer not null default 0,
  last_ordinal integer not null default 0
);
create index threads_conversation_id_idx on rustygpt.threads (conversation_id, last_activity_at desc, root_id desc);

create table rustygpt.messages (
  id uuid constraint messages_pkey primary key,
  conversation_id uuid not null constraint messages_conversation_id_fkey references rustygpt.conversations,
  root_id uuid not null constraint messages_root_id_fkey references rustygpt.threads,
  parent_id uuid constraint messages_parent_id_fkey references rustygpt.messages,
  seq bigint not null,
  ordinal integer not null,
  depth integer not null,
  author_id uuid constraint messages_author_id_fkey references rustygpt.users,
  role text not null constraint messages_role check (role in ('user', 'assistant')),
  content text not null,
  created_at timestamptz not null default clock_timestamp(),
  edited_at timestamptz,
  deleted_at timestamptz,
  constraint messages_author check ((role = 'user') = (author_id is not null)),
  constraint messages_seq_key unique (conversation_id, seq),
  constraint messages_ordinal_key unique (root_id, ordinal)
);
create index messages_parent_id_idx on rustygpt.messages (parent_id);
create index messages_author_id_idx on rustygpt.messages (author_id);
comment on column rustygpt.messages.content is 'written once; for a reply under way it is empty and its text is the deltas in event_log';

create table rustygpt.thread_participants (
  root_id uuid not null constraint thread_participants_root_id_fkey references rustygpt.threads,
  user_id uuid not null constraint thread_participants_user_id_fkey references rustygpt.users,
  constraint thread_participants_pkey primary key (root_id, user_id)
);
create index thread_participants_user_id_idx on rustygpt.thread_participants (user_id);

create table rustygpt.read_marks (
  user_id uuid not null constraint read_marks_user_id_fkey references rustygpt.users,
  root_id uuid not null constraint read_marks_root_id_fkey references rustygpt.threads,
  ordinal integer not null,
  constraint read_marks_pkey primary key (user_id, root_id)
);
create index read_marks_root_id_idx on rustygpt.read_marks (root_id);

-- What a client has already asked for, by its own key: the same answer again, never a second row.
create table rustygpt.idempotency_keys (
  user_id uuid not null constraint idempotency_keys_user_id_fkey references rustygpt.users,
  scope text not null,
  key text not null constraint idempotency_keys_key check (char_length(key) between 1 and 128),
  fingerprint text not null,
  answer jsonb,
  created_at timestamptz not null default clock_timestamp(),
  constraint idempotency_keys_pkey primary key (user_id, scope, key)
);
create index idempotency_keys_created_at_idx on rustygpt.idempotency_keys (created_at);
