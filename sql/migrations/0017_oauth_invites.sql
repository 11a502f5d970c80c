-- An invite that travels with a sign-in by a provider, so that who has one gets in though sign-up is off.

alter table rustygpt.oauth_states
  add column invite_hash bytea constraint oauth_states_invite_hash_is_sha256 check (octet_length(invite_hash) = 32);
comment on column rustygpt.oauth_states.invite_hash is 'SHA-256 of the token of the invite that the browser left with, or null';
