-- Keys by which programs act for a user.

create table rustygpt.api_keys (
  id uuid constraint api_keys_pkey primary key default rustygpt.new_uuid(),
  user_id uuid not null constraint api_keys_user_id_fkey references rustygpt.users on delete cascade,
  name text not null constraint api_keys_name check (char_length(name) between 1 and 80),
  key_hash bytea not null constraint api_keys_key_hash unique
    constraint api_keys_key_hash_is_sha256 check (octet_length(key_hash) = 32),
  hint text not null constraint api_keys_hint check (char_length(hint) between 1 and 16),
  scopes text[] not null constraint api_keys_scopes check (cardinality(scopes) > 0 and scopes <@ array['chat', 'v1', 'admin']),
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz
);
create index api_keys_user_id_idx on rustygpt.api_keys (user_id, id);
comment on column rustygpt.api_keys.key_hash is 'SHA-256 of the key, which itself is stored nowhere';
comment on column rustygpt.api_keys.hint is 'how the key begins, so that its owner can tell it from others';
