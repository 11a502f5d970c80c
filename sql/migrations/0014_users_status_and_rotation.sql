-- Accounts that wait for approval, and sessions whose token must be replaced because their user's role has changed.

alter table rustygpt.users drop constraint users_status;
alter table rustygpt.users add constraint users_status check (status in ('active', 'pending', 'disabled'));

alter table rustygpt.sessions
  add column must_rotate boolean not null default false,
  add column previous_token_hash bytea constraint sessions_previous_token_hash unique
    constraint sessions_previous_token_hash_is_sha256 check (octet_length(previous_token_hash) = 32),
  add column previous_until timestamptz,
  add constraint sessions_previous check ((previous_token_hash is null) = (previous_until is null));
comment on column rustygpt.sessions.must_rotate is 'the next request with this session gets a new token';
comment on column rustygpt.sessions.previous_token_hash is 'SHA-256 of the token before, good until previous_until';
