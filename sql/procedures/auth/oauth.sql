-- is_state_expired: whether a sign-in began too long ago, by the database's clock.
create or replace function rustygpt.is_state_expired(p_created_at timestamptz) returns boolean
language sql volatile as $$
  select p_created_at < clock_timestamp() - interval '10 minutes'
$$;

-- prune_oauth_states: forget at most p_limit sign-ins that began too long ago. Returns how many. Rows that others hold are left.
create or replace function rustygpt.prune_oauth_states(p_limit integer) returns integer
language plpgsql as $$
declare
  v_count integer;
begin
  delete from rustygpt.oauth_states s
  where s.state_hash in (
    select o.state_hash from rustygpt.oauth_states o
    where rustygpt.is_state_expired(o.created_at)
    order by o.created_at limit p_limit for update skip locked
  );
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

-- begin_oauth: remember a sign-in that leaves for a provider. p_state_hash, p_browser_hash: SHA-256 of the state and of the cookie.
-- p_code_verifier: for PKCE. p_nonce: for the id_token. p_redirect_uri: where the provider sends the browser back to.
-- p_redirect_to: the path to go to in the end. p_session: the session whose user links an account, or null. p_invite_hash: SHA-256 of
-- the token of an invite that a newcomer has, or null.
-- Forgets up to a hundred old ones, so that no flood of beginnings outlives its ten minutes by much.
create or replace function rustygpt_api.begin_oauth(
  p_state_hash bytea, p_provider text, p_browser_hash bytea, p_code_verifier text, p_nonce text, p_redirect_uri text,
  p_redirect_to text, p_session uuid, p_invite_hash bytea default null
) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
begin
  perform prune_oauth_states(100);
  insert into oauth_states (state_hash, provider, browser_hash, code_verifier, nonce, redirect_uri, redirect_to, session_id,
                            invite_hash)
  values (p_state_hash, p_provider, p_browser_hash, p_code_verifier, p_nonce, p_redirect_uri, p_redirect_to, p_session, p_invite_hash);
end
$$;

-- take_oauth_state: what begin_oauth remembered, once. Of two that ask for the same, one gets it.
-- Returns no row for an unknown or used state, another provider's, and one that another browser began.
create or replace function rustygpt_api.take_oauth_state(p_state_hash bytea, p_provider text, p_browser_hash bytea)
returns table (
  code_verifier text, nonce text, redirect_uri text, redirect_to text, session_id uuid, invite_hash bytea, is_expired boolean
)
language sql volatile security definer set search_path = rustygpt, pg_temp as $$
  delete from oauth_states s
  where s.state_hash = p_state_hash and s.provider = p_provider and s.browser_hash = p_browser_hash
  returning s.code_verifier, s.nonce, s.redirect_uri, s.redirect_to, s.session_id, s.invite_hash,
            is_state_expired(s.created_at)
$$;

-- use_identity: find, link or create the account of a person whom a provider has just vouched for.
-- p_subject: the provider's name for the person. p_email: their address if the provider verified it, else null.
-- p_session: the session whose user links this identity, or null to sign in. p_may_create: whether strangers may make accounts,
-- which begin with p_new_role and p_new_status. p_invite_hash: an invite that a newcomer has, or null: they join its conversation, also
-- where strangers may not make accounts, and are never administrators of the server, as who invites is none.
-- With a session the identity is linked to its user, whatever the address. Without, a known identity is its account; an unknown one
-- goes to the account of the same address only if that address was verified, so that nobody gets in by typing somebody else's.
-- outcome is known, linked or created, with the account, and the position to announce where they joined a conversation; or, with
-- nothing written, why not: session_ended, identity_taken, already_linked (the account has another identity of this provider),
-- email_unverified, email_taken, signup_disabled, invite_refused, account_disabled.
-- Raises RG409 RGP.CONFLICT when somebody else makes an account of that address at this moment. Emits as use_invite.
-- Locks the name of the identity, the identity, then the user, or the invite and its conversation.
create or replace function rustygpt_api.use_identity(
  p_provider text, p_subject text, p_email text, p_is_private_email boolean, p_display_name text, p_session uuid, p_may_create boolean,
  p_new_role text, p_new_status text, p_invite_hash bytea default null
) returns table (outcome text, user_id uuid, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_identity identities;
  v_user users;
  v_outcome text := 'known';
  v_position bigint;
begin
  perform pg_advisory_xact_lock(hashtextextended(format('identity %s %s', p_provider, p_subject), 0));
  select i.* into v_identity from identities i where i.provider = p_provider and i.subject = p_subject for update;
  if p_session is not null then
    select u.* into v_user from sessions s join users u on u.id = s.user_id
    where s.id = p_session and is_live(s, clock_timestamp()) and u.status = 'active'
    for no key update of u;
    if not found then
      return query select 'session_ended', null::uuid, null::bigint;
      return;
    elsif v_identity.user_id <> v_user.id then
      return query select 'identity_taken', null::uuid, null::bigint;
      return;
    end if;
  elsif v_identity.user_id is not null then
    select u.* into v_user from users u where u.id = v_identity.user_id for no key update;
  elsif p_email is null then
    return query select 'email_unverified', null::uuid, null::bigint;
    return;
  else
    select u.* into v_user from users u where u.email_key = email_key(p_email) for no key update;
    if found and v_user.email_verified_at is null then
      return query select 'email_taken', null::uuid, null::bigint;
      return;
    elsif found and v_user.status = 'disabled' then
      return query select 'account_disabled', null::uuid, null::bigint;
      return;
    elsif not found and p_invite_hash is not null then
      if not is_invite_usable(p_invite_hash, email_key(p_email)) then
        return query select 'invite_refused', null::uuid, null::bigint;
        return;
      end if;
      v_user := insert_user(p_email, p_display_name, null, 'user', p_new_status);
      select x.v_position into v_position from use_invite(v_user.id, v_user.email_key, p_invite_hash) x;
      v_outcome := 'created';
    elsif not found and not p_may_create then
      return query select 'signup_disabled', null::uuid, null::bigint;
      return;
    elsif not found then
      v_user := insert_user(p_email, p_display_name, null, p_new_role, p_new_status);
      v_outcome := 'created';
    end if;
  end if;
  if v_identity.user_id is null then
    if exists (select from identities i where i.user_id = v_user.id and i.provider = p_provider) then
      return query select 'already_linked', null::uuid, null::bigint;
      return;
    end if;
    insert into identities (provider, subject, user_id, email, is_private_email)
    values (p_provider, p_subject, v_user.id, p_email, p_is_private_email);
    v_outcome := case v_outcome when 'created' then 'created' else 'linked' end;
  else
    update identities i
    set email = p_email, is_private_email = p_is_private_email, last_used_at = clock_timestamp()
    where i.provider = p_provider and i.subject = p_subject;
  end if;
  update users u set email_verified_at = clock_timestamp()
  where u.id = v_user.id and u.email_verified_at is null and u.email_key = email_key(p_email);
  return query select v_outcome, v_user.id, v_position;
end
$$;

-- list_identities: the actor's accounts at providers, in the order in which they were linked.
create or replace function rustygpt_api.list_identities(p_actor uuid)
returns table (provider text, email text, is_private_email boolean, linked_at timestamptz, last_used_at timestamptz)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select i.provider, i.email, i.is_private_email, i.linked_at, i.last_used_at
  from identities i
  where i.user_id = p_actor
  order by i.linked_at, i.provider
$$;

-- unlink_identity: forget the actor's account at a provider. p_usable: the providers by which one can sign in at present.
-- Raises RG404 RGP.NOT_FOUND when none is linked; RG409 RGP.CONFLICT when neither a password nor a usable identity would be left.
-- Locks the identity, then the user, so that of two that race the second sees what the first has left.
create or replace function rustygpt_api.unlink_identity(p_actor uuid, p_provider text, p_usable text[]) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_user users;
begin
  perform from identities i where i.user_id = p_actor and i.provider = p_provider for update;
  if not found then
    perform fail('RG404', 'RGP.NOT_FOUND', 'There is no account of this provider linked.');
  end if;
  select u.* into v_user from users u where u.id = p_actor for no key update;
  if v_user.password_hash is null and not exists (
    select from identities i where i.user_id = p_actor and i.provider <> p_provider and i.provider = any (p_usable)
  ) then
    perform fail('RG409', 'RGP.CONFLICT', 'This is your last way to sign in. Set a password or link another account first.');
  end if;
  delete from identities i where i.user_id = p_actor and i.provider = p_provider;
end
$$;
