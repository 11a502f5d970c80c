-- Links by which people join a conversation, and whom they must not bring back.

create table rustygpt.invites (
  id uuid constraint invites_pkey primary key default rustygpt.new_uuid(),
  conversation_id uuid not null constraint invites_conversation_id_fkey references rustygpt.conversations,
  created_by uuid not null constraint invites_created_by_fkey references rustygpt.users,
  token_hash bytea not null constraint invites_token_hash unique
    constraint invites_token_hash_is_sha256 check (octet_length(token_hash) = 32),
  role text not null constraint invites_role check (role in ('owner', 'admin', 'member', 'viewer')),
  email text constraint invites_email check (char_length(email) between 3 and 254),
  email_key text,
  max_uses integer not null constraint invites_max_uses check (max_uses between 1 and 1000),
  uses integer not null default 0,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  revoked_at timestamptz,
  constraint invites_uses check (uses between 0 and max_uses),
  constraint invites_email_has_key check ((email is null) = (email_key is null)),
  constraint invites_for_one check (email is null or max_uses = 1)
);
create index invites_conversation_id_idx on rustygpt.invites (conversation_id, id);
create index invites_created_by_idx on rustygpt.invites (created_by);
create index invites_expires_at_idx on rustygpt.invites (expires_at);
comment on column rustygpt.invites.token_hash is 'SHA-256 of the token, which itself is stored nowhere';
comment on column rustygpt.invites.email_key is 'who alone may use it, in the form of users.email_key; null: whoever has the link';

create table rustygpt.removals (
  conversation_id uuid not null constraint removals_conversation_id_fkey references rustygpt.conversations,
  user_id uuid not null constraint removals_user_id_fkey references rustygpt.users on delete cascade,
  removed_at timestamptz not null,
  constraint removals_pkey primary key (conversation_id, user_id)
);
create index removals_user_id_idx on rustygpt.removals (user_id);
comment on table rustygpt.removals is 'when somebody was last taken out by somebody else: links made before that do not bring them back';
