-- Who may sign in, and who is signed in.

create table rustygpt.users (
  id uuid constraint users_pkey primary key default rustygpt.new_uuid(),
  email text not null constraint users_email check (char_length(email) between 3 and 254),
  email_key text not null constraint users_email_key unique,
  display_name text not null constraint users_display_name check (char_length(display_name) between 1 and 80),
  password_hash text not null,
  role text not null constraint users_role check (role in ('admin', 'user')),
  status text not null default 'active' constraint users_status check (status in ('active', 'disabled')),
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp()
);
comment on column rustygpt.users.email_key is 'the address in lower case: two spellings of one address are one account';
comment on column rustygpt.users.password_hash is 'Argon2id in PHC format';

-- One row from sign-in to the end; a rotation replaces the token and keeps the row.
create table rustygpt.sessions (
  id uuid constraint sessions_pkey primary key default rustygpt.new_uuid(),
  user_id uuid not null constraint sessions_user_id_fkey references rustygpt.users on delete cascade,
  token_hash bytea not null constraint sessions_token_hash unique
    constraint sessions_token_hash_is_sha256 check (octet_length(token_hash) = 32),
  issued_at timestamptz not null,
  last_seen_at timestamptz not null,
  expires_at timestamptz not null,
  absolute_expires_at timestamptz not null,
  revoked_at timestamptz,
  user_agent text constraint sessions_user_agent check (char_length(user_agent) <= 256),
  ip text constraint sessions_ip check (char_length(ip) <= 64),
  constraint sessions_expiry_order check (expires_at <= absolute_expires_at)
);
create index sessions_user_id_idx on rustygpt.sessions (user_id);
comment on column rustygpt.sessions.token_hash is 'SHA-256 of the token, which itself is stored nowhere';
comment on column rustygpt.sessions.expires_at is 'the idle limit, pushed out by activity up to absolute_expires_at';

-- One row for ever. Once set_up_at is set, create_first_administrator is closed, whatever becomes of the accounts.
create table rustygpt.installation (
  is_only boolean constraint installation_pkey primary key default true constraint installation_is_only check (is_only),
  set_up_at timestamptz
);
insert into rustygpt.installation default values;
