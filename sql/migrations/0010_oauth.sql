-- Accounts at providers of identities, and sign-ins that are under way there.

-- Who came by a provider has no password until they set one.
alter table rustygpt.users alter column password_hash drop not null;
alter table rustygpt.users add column email_verified_at timestamptz;
comment on column rustygpt.users.email_verified_at is
  'since when a provider has vouched for this very address; null for one that somebody only typed. Whoever changes email clears it';

create table rustygpt.identities (
  provider text not null constraint identities_provider check (provider in ('github', 'apple')),
  subject text not null constraint identities_subject check (char_length(subject) between 1 and 255),
  user_id uuid not null constraint identities_user_id_fkey references rustygpt.users on delete cascade,
  email text constraint identities_email check (char_length(email) <= 254),
  is_private_email boolean not null,
  linked_at timestamptz not null default clock_timestamp(),
  last_used_at timestamptz not null default clock_timestamp(),
  constraint identities_pkey primary key (provider, subject),
  constraint identities_user_id_provider unique (user_id, provider)
);
comment on column rustygpt.identities.subject is 'what the provider calls the person for good; names and addresses change';
comment on column rustygpt.identities.email is 'the verified address that the provider told last; for display, never for finding anybody';

-- One row from leaving for the provider to coming back; taking it deletes it.
create table rustygpt.oauth_states (
  state_hash bytea constraint oauth_states_pkey primary key
    constraint oauth_states_state_hash_is_sha256 check (octet_length(state_hash) = 32),
  provider text not null constraint oauth_states_provider check (provider in ('github', 'apple')),
  browser_hash bytea not null constraint oauth_states_browser_hash_is_sha256 check (octet_length(browser_hash) = 32),
  code_verifier text not null constraint oauth_states_code_verifier check (char_length(code_verifier) between 43 and 128),
  nonce text not null constraint oauth_states_nonce check (char_length(nonce) between 32 and 128),
  redirect_uri text not null constraint oauth_states_redirect_uri check (char_length(redirect_uri) <= 2048),
  redirect_to text not null constraint oauth_states_redirect_to check (char_length(redirect_to) <= 2048),
  session_id uuid constraint oauth_states_session_id_fkey references rustygpt.sessions on delete cascade,
  created_at timestamptz not null default clock_timestamp()
);
create index oauth_states_session_id_idx on rustygpt.oauth_states (session_id);
create index oauth_states_created_at_idx on rustygpt.oauth_states (created_at);
comment on column rustygpt.oauth_states.state_hash is 'SHA-256 of the state, which travels through the provider';
comment on column rustygpt.oauth_states.browser_hash is 'SHA-256 of the cookie of the browser that left, which does not';
comment on column rustygpt.oauth_states.session_id is 'the session whose user links an account; null to sign in';
