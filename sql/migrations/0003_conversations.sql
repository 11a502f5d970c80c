-- Conversations and who belongs to them.

create table rustygpt.conversations (
  id uuid constraint conversations_pkey primary key default rustygpt.new_uuid(),
  title text not null constraint conversations_title check (char_length(title) <= 200),
  is_group boolean not null default false,
  model text,
  system_prompt text not null default '',
  assistant_mode text constraint conversations_assistant_mode check (assistant_mode in ('always', 'mention', 'off')),
  created_by uuid not null constraint conversations_created_by_fkey references rustygpt.users,
  created_at timestamptz not null default clock_timestamp(),
  last_activity_at timestamptz not null default clock_timestamp(),
  archived_at timestamptz,
  member_count integer not null default 0,
  last_seq bigint not null default 0
);
create index conversations_created_by_idx on rustygpt.conversations (created_by);
comment on column rustygpt.conversations.assistant_mode is 'null: always when alone, mention in company';
comment on column rustygpt.conversations.last_seq is 'the seq of the newest message; taken under this row''s lock';

create table rustygpt.members (
  conversation_id uuid not null constraint members_conversation_id_fkey references rustygpt.conversations,
  user_id uuid not null constraint members_user_id_fkey references rustygpt.users,
  role text not null constraint members_role check (role in ('owner', 'admin', 'member', 'viewer')),
  joined_at timestamptz not null default clock_timestamp(),
  constraint members_pkey primary key (conversation_id, user_id)
);
create index members_user_id_idx on rustygpt.members (user_id);

-- Between which positions of the log somebody belonged to a conversation: what a user's own stream may show, exactly.
create table rustygpt.membership_spans (
  conversation_id uuid not null constraint membership_spans_conversation_id_fkey references rustygpt.conversations,
  user_id uuid not null constraint membership_spans_user_id_fkey references rustygpt.users,
  from_position bigint not null,
  to_position bigint,
  constraint membership_spans_pkey primary key (user_id, conversation_id, from_position),
  constraint membership_spans_order check (to_position >= from_position)
);
create index membership_spans_conversation_id_idx on rustygpt.membership_spans (conversation_id);
