-- is_key_live: whether a key may be used at the instant p_at. Says nothing about its user.
create or replace function rustygpt.is_key_live(p_key rustygpt.api_keys, p_at timestamptz) returns boolean
language sql immutable as $$
  select p_key.revoked_at is null and (p_key.expires_at is null or p_key.expires_at > p_at)
$$;

-- create_api_key: add a key for the actor. p_key_hash: SHA-256 of the key. p_hint: how it begins. p_scopes: of chat, v1, admin.
-- p_expires_at: null never. p_request_key: the client's idempotency key, or null.
-- Raises RG403 RGP.RBAC.FORBIDDEN for scope admin unless the actor is an administrator; RG422 RGP.VALIDATION for a time that has
-- passed; RG409 RGP.CONFLICT at p_max_keys live keys, and for a repeated p_request_key: a key is shown once, so there is no same
-- answer to give. One with the scope admin is noted in the audit log. Locks the user, so that two creations count one after the other. Forgets keys that ended 30 days ago.
create or replace function rustygpt_api.create_api_key(
  p_actor uuid, p_name text, p_key_hash bytea, p_hint text, p_scopes text[], p_expires_at timestamptz, p_max_keys integer,
  p_request_key text
) returns table (
  key_id uuid, name text, hint text, scopes text[], created_at timestamptz, expires_at timestamptz, last_used_at timestamptz
)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_user users;
  v_key api_keys;
  v_now timestamptz;
begin
  select u.* into v_user from users u where u.id = p_actor for no key update;
  v_now := clock_timestamp();
  if 'admin' = any (p_scopes) and v_user.role <> 'admin' then
    perform fail('RG403', 'RGP.RBAC.FORBIDDEN', 'Only an administrator''s key may have the scope admin.');
  end if;
  if p_expires_at <= v_now then
    perform fail('RG422', 'RGP.VALIDATION', 'expires_at is in the past.');
  end if;
  if recall_answer(p_actor, 'api_key', p_request_key, md5(jsonb_build_array(p_name, p_scopes, p_expires_at)::text)) is not null then
    perform fail('RG409', 'RGP.CONFLICT', 'This request made a key already, which is shown only once. Revoke that one and ask anew.');
  end if;
  delete from api_keys k where k.user_id = p_actor and least(k.revoked_at, k.expires_at) < v_now - interval '30 days';
  if (select count(*) from api_keys k where k.user_id = p_actor and is_key_live(k, v_now)) >= p_max_keys then
    perform fail('RG409', 'RGP.CONFLICT', format('You have %s keys already; revoke one first.', p_max_keys));
  end if;
  perform keep_answer(p_actor, 'api_key', p_request_key, 'true');
  insert into api_keys (user_id, name, key_hash, hint, scopes, expires_at)
  values (p_actor, p_name, p_key_hash, p_hint, p_scopes, p_expires_at)
  returning * into v_key;
  if 'admin' = any (p_scopes) then
    perform audit(p_actor, 'key.created', v_key.id::text, jsonb_build_object('scopes', p_scopes, 'expires_at', p_expires_at));
  end if;
  return query
    select v_key.id, v_key.name, v_key.hint, v_key.scopes, v_key.created_at, v_key.expires_at, v_key.last_used_at;
end
$$;

-- list_api_keys: the actor's live keys, newest first. p_before: the last id of the page before, or null for the first page.
create or replace function rustygpt_api.list_api_keys(p_actor uuid, p_before uuid, p_limit integer)
returns table (
  key_id uuid, name text, hint text, scopes text[], created_at timestamptz, expires_at timestamptz, last_used_at timestamptz
)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select k.id, k.name, k.hint, k.scopes, k.created_at, k.expires_at, k.last_used_at
  from api_keys k
  where k.user_id = p_actor and is_key_live(k, now()) and (p_before is null or k.id < p_before)
  order by k.id desc
  limit p_limit
$$;

-- revoke_api_key: end one of the actor's own live keys.
-- Raises RG404 RGP.NOT_FOUND when there is none of that id, also when it is somebody else's. Locks the key.
create or replace function rustygpt_api.revoke_api_key(p_actor uuid, p_key uuid) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_scopes text[];
begin
  update api_keys k set revoked_at = clock_timestamp()
  where k.id = p_key and k.user_id = p_actor and is_key_live(k, clock_timestamp())
  returning k.scopes into v_scopes;
  if not found then
    perform fail('RG404', 'RGP.NOT_FOUND', 'You have no such key.');
  elsif 'admin' = any (v_scopes) then
    perform audit(p_actor, 'key.revoked', p_key::text, '{}');
  end if;
end
$$;

-- find_api_key: who shows this key. Returns no row for an unknown one. p_key_hash: SHA-256 of the key.
-- state is live, revoked (or expired), or pending or disabled (its user is). To spare writes last_used_at is written once a minute.
create or replace function rustygpt_api.find_api_key(p_key_hash bytea)
returns table (
  state text, key_id uuid, user_id uuid, role text, display_name text, scopes text[], expires_at timestamptz
)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_key api_keys;
  v_user users;
begin
  select k.* into v_key from api_keys k where k.key_hash = p_key_hash;
  if not found then
    return;
  end if;
  select u.* into v_user from users u where u.id = v_key.user_id;
  state := case
    when not is_key_live(v_key, now()) then 'revoked'
    when v_user.status <> 'active' then v_user.status
    else 'live'
  end;
  if state = 'live' and (v_key.last_used_at is null or v_key.last_used_at < now() - interval '1 minute') then
    update api_keys k set last_used_at = now() where k.id = v_key.id;
  end if;
  key_id := v_key.id;
  user_id := v_user.id;
  role := v_user.role;
  display_name := v_user.display_name;
  scopes := v_key.scopes;
  expires_at := v_key.expires_at;
  return next;
end
$$;
