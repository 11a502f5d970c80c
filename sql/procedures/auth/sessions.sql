-- is_live: whether a session may be used at the instant p_at. Says nothing about its user.
create or replace function rustygpt.is_live(p_session rustygpt.sessions, p_at timestamptz) returns boolean
language sql immutable as $$
  select p_session.revoked_at is null and p_session.expires_at > p_at
$$;

-- open_session: sign a user in.
-- p_token_hash: SHA-256 of the token. p_known_hash: the password hash that was checked; null when no password was involved.
-- p_idle_seconds, p_absolute_seconds: life without activity, and at most. p_max_sessions: live sessions a user may have.
-- p_replaces: the session that this browser used until now, or null; it ends.
-- Returns the new session with its user, as require_session does, and the sessions that ended: the replaced one and the oldest
-- beyond p_max_sessions. In one call, because a sign-in that races this one may end the new session at once.
-- Raises RG423 RGP.AUTH.DISABLED; RG401 RGP.AUTH.INVALID_CREDENTIALS when the password changed meanwhile.
-- Locks the user, so that two sign-ins count one after the other. Forgets the user's sessions that ended 30 days ago.
create or replace function rustygpt_api.open_session(
  p_user uuid, p_token_hash bytea, p_known_hash text, p_idle_seconds integer, p_absolute_seconds integer,
  p_max_sessions integer, p_replaces uuid, p_user_agent text, p_ip text
) returns table (
  user_id uuid, email text, display_name text, role text, status text, created_at timestamptz,
  session_id uuid, issued_at timestamptz, expires_at timestamptz, absolute_expires_at timestamptz, ended uuid[]
)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_user users;
  v_now timestamptz;
  v_session sessions;
  v_ended uuid[];
begin
  select u.* into v_user from users u where u.id = p_user for no key update;
  if coalesce(v_user.status, 'disabled') = 'disabled' then
    perform fail('RG423', 'RGP.AUTH.DISABLED', 'This account is disabled.');
  end if;
  if p_known_hash is not null and p_known_hash is distinct from v_user.password_hash then
    perform fail('RG401', 'RGP.AUTH.INVALID_CREDENTIALS', 'The e-mail address or the password is wrong.');
  end if;
  v_now := clock_timestamp();
  delete from sessions s where s.user_id = p_user and least(s.revoked_at, s.expires_at) < v_now - interval '30 days';
  with surplus as (
    select s.id from sessions s
    where s.user_id = p_user and is_live(s, v_now) and s.id is distinct from p_replaces
    order by s.issued_at desc, s.id desc
    offset p_max_sessions - 1
  ), gone as (
    update sessions s set revoked_at = v_now
    where (s.id in (select surplus.id from surplus) or s.id = p_replaces) and is_live(s, v_now)
    returning s.id
  )
  select coalesce(array_agg(gone.id), '{}') into v_ended from gone;
  insert into sessions (user_id, token_hash, issued_at, last_seen_at, expires_at, absolute_expires_at, user_agent, ip)
  values (
    p_user, p_token_hash, v_now, v_now, v_now + make_interval(secs => least(p_idle_seconds, p_absolute_seconds)),
    v_now + make_interval(secs => p_absolute_seconds), p_user_agent, p_ip
  )
  returning sessions.* into v_session;
  return query
    select v_user.id, v_user.email, v_user.display_name, v_user.role, v_user.status, v_user.created_at,
           v_session.id, v_session.issued_at, v_session.expires_at, v_session.absolute_expires_at, v_ended;
end
$$;

-- find_session: who shows this token. Returns no row for an unknown one, and for one that was replaced, unless the session still takes
-- it for a moment: then is_previous. must_rotate says that the token shown is to be replaced now, by rotate_marked_session.
-- p_token_hash: SHA-256 of the token. p_is_activity: false for what must not keep a session alive, such as a stream.
-- Activity pushes the idle limit to p_idle_seconds from now, but never past the absolute one. To spare writes this is done
-- once a minute, or every tenth of p_idle_seconds where that is shorter.
-- state is live, revoked, expired, or pending or disabled (the user is). user_agent and ip are those of the sign-in.
-- Locks the session when it writes.
create or replace function rustygpt_api.find_session(p_token_hash bytea, p_idle_seconds integer, p_is_activity boolean)
returns table (
  state text, session_id uuid, user_id uuid, role text, display_name text, absolute_expires_at timestamptz,
  must_rotate boolean, is_previous boolean, user_agent text, ip text
)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_session sessions;
  v_user users;
  v_seen_before timestamptz := now() - make_interval(secs => least(60, p_idle_seconds / 10.0));
begin
  select s.* into v_session from sessions s where s.token_hash = p_token_hash;
  if not found then
    select s.* into v_session from sessions s where s.previous_token_hash = p_token_hash and s.previous_until > now();
    if not found then
      return;
    end if;
  end if;
  select u.* into v_user from users u where u.id = v_session.user_id;
  state := case
    when v_session.expires_at <= now() then 'expired'
    when v_user.status = 'disabled' then 'disabled'  -- which has revoked the session, and says more
    when v_session.revoked_at is not null then 'revoked'
    when v_user.status = 'pending' then 'pending'
    else 'live'
  end;
  if state in ('live', 'pending') and p_is_activity and v_session.last_seen_at < v_seen_before then
    update sessions s
    set last_seen_at = now(),
        expires_at = least(now() + make_interval(secs => p_idle_seconds), s.absolute_expires_at)
    where s.id = v_session.id and s.last_seen_at < v_seen_before;
  end if;
  session_id := v_session.id;
  user_id := v_user.id;
  role := v_user.role;
  display_name := v_user.display_name;
  absolute_expires_at := v_session.absolute_expires_at;
  is_previous := v_session.token_hash <> p_token_hash;
  must_rotate := v_session.must_rotate and not is_previous;
  user_agent := v_session.user_agent;
  ip := v_session.ip;
  return next;
end
$$;

-- rotate_marked_session: give a session whose must_rotate is set a new token. The old one is good for p_grace_seconds more, for the
-- requests that are under way with it. Returns whether it was done: of several that race, one does it. Locks the session.
create or replace function rustygpt_api.rotate_marked_session(
  p_session uuid, p_old_token_hash bytea, p_new_token_hash bytea, p_grace_seconds integer
) returns boolean
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  update sessions s
  set token_hash = p_new_token_hash,
      previous_token_hash = p_old_token_hash,
      previous_until = v_now + make_interval(secs => p_grace_seconds),
      must_rotate = false
  where s.id = p_session and s.token_hash = p_old_token_hash and s.must_rotate and is_live(s, v_now);
  return found;
end
$$;

-- require_session: the signed-in user and the session in full. Raises RG401 RGP.AUTH.SESSION_EXPIRED when it is not live.
create or replace function rustygpt_api.require_session(p_actor uuid, p_session uuid)
returns table (
  user_id uuid, email text, display_name text, role text, status text, created_at timestamptz,
  session_id uuid, issued_at timestamptz, expires_at timestamptz, absolute_expires_at timestamptz
)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
begin
  return query
    select u.id, u.email, u.display_name, u.role, u.status, u.created_at,
           s.id, s.issued_at, s.expires_at, s.absolute_expires_at
    from sessions s
    join users u on u.id = s.user_id
    where s.id = p_session and s.user_id = p_actor and is_live(s, now());
  if not found then
    perform fail('RG401', 'RGP.AUTH.SESSION_EXPIRED', 'The session has ended. Sign in again.');
  end if;
end
$$;

-- rotate_session: give a live session a new token and, as this is activity, a new idle limit. Its id stays, so streams go on.
-- p_old_token_hash must be the present one: of two rotations that race, one wins. p_idle_seconds as find_session.
-- Raises RG401 RGP.AUTH.SESSION_EXPIRED when the session is not live or the token is not its present one. Locks the session.
create or replace function rustygpt_api.rotate_session(
  p_actor uuid, p_session uuid, p_old_token_hash bytea, p_new_token_hash bytea, p_idle_seconds integer
) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  update sessions s
  set token_hash = p_new_token_hash,
      previous_token_hash = null,
      previous_until = null,
      must_rotate = false,
      last_seen_at = v_now,
      expires_at = least(v_now + make_interval(secs => p_idle_seconds), s.absolute_expires_at)
  where s.id = p_session and s.user_id = p_actor and s.token_hash = p_old_token_hash and is_live(s, v_now);
  if not found then
    perform fail('RG401', 'RGP.AUTH.SESSION_EXPIRED', 'The session has ended. Sign in again.');
  end if;
end
$$;

-- revoke_session: end one of the actor's own live sessions.
-- Raises RG404 RGP.NOT_FOUND when there is none of that id, also when it is somebody else's. Locks the session.
create or replace function rustygpt_api.revoke_session(p_actor uuid, p_session uuid) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
begin
  update sessions s set revoked_at = clock_timestamp()
  where s.id = p_session and s.user_id = p_actor and is_live(s, clock_timestamp());
  if not found then
    perform fail('RG404', 'RGP.NOT_FOUND', 'You have no such session.');
  end if;
end
$$;

-- list_sessions: the actor's live sessions, newest first. p_before: the last id of the page before, or null for the first page.
create or replace function rustygpt_api.list_sessions(p_actor uuid, p_before uuid, p_limit integer)
returns table (
  session_id uuid, user_agent text, ip text, issued_at timestamptz, last_seen_at timestamptz, expires_at timestamptz,
  absolute_expires_at timestamptz
)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select s.id, s.user_agent, s.ip, s.issued_at, s.last_seen_at, s.expires_at, s.absolute_expires_at
  from sessions s
  where s.user_id = p_actor and is_live(s, now()) and (p_before is null or s.id < p_before)
  order by s.id desc
  limit p_limit
$$;

-- change_password: store a new password, rotate the present session and end all others of the actor.
-- p_known_hash: the stored hash against which the present password was checked; null sets the first one. p_password_hash: Argon2id, PHC format.
-- Returns the ended sessions, one a row.
-- Raises RG409 RGP.CONFLICT when the password changed meanwhile; otherwise as rotate_session. Locks the user, then the sessions.
create or replace function rustygpt_api.change_password(
  p_actor uuid, p_session uuid, p_known_hash text, p_password_hash text,
  p_old_token_hash bytea, p_new_token_hash bytea, p_idle_seconds integer
) returns table (session_id uuid)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
begin
  update users u set password_hash = p_password_hash, updated_at = clock_timestamp()
  where u.id = p_actor and u.password_hash is not distinct from p_known_hash;
  if not found then
    perform fail('RG409', 'RGP.CONFLICT', 'The password was changed meanwhile.');
  end if;
  perform rustygpt_api.rotate_session(p_actor, p_session, p_old_token_hash, p_new_token_hash, p_idle_seconds);
  return query
    update sessions s set revoked_at = clock_timestamp()
    where s.user_id = p_actor and s.id <> p_session and is_live(s, clock_timestamp())
    returning s.id;
end
$$;

-- ended_credentials: which of these sessions and API keys may no longer be used, because they are gone, revoked, expired or their
-- user is disabled. For live streams and answers: reads only, so that an open stream never keeps its session alive.
-- Returns a row for each with the status of its user, which says why; without one when the credential itself is gone.
create or replace function rustygpt_api.ended_credentials(p_credentials uuid[])
returns table (credential_id uuid, user_status text)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select asked.id, coalesce(su.status, ku.status)
  from unnest(p_credentials) as asked (id)
  left join sessions s on s.id = asked.id
  left join users su on su.id = s.user_id
  left join api_keys k on k.id = asked.id
  left join users ku on ku.id = k.user_id
  where (s.id is null or not is_live(s, now()) or su.status <> 'active')
    and (k.id is null or not is_key_live(k, now()) or ku.status <> 'active')
$$;

-- count_active_sessions: how many sessions are live, for the gauge.
create or replace function rustygpt_api.count_active_sessions() returns bigint
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select count(*) from sessions s where is_live(s, now())
$$;
