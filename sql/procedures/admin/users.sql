-- user_json: an account as its owner and administrators see it.
create or replace function rustygpt.user_json(p_user rustygpt.users) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', p_user.id, 'email', p_user.email, 'display_name', p_user.display_name, 'role', p_user.role,
                            'status', p_user.status, 'created_at', rustygpt.rfc3339(p_user.created_at))
$$;

-- list_users: all accounts, the newest first. p_query: a part of the address or the name, in any case, or null. p_status: active,
-- pending, disabled or null. p_before: the last id of the page before, or null. Raises RG403 RGP.RBAC.FORBIDDEN.
create or replace function rustygpt_api.list_users(p_actor uuid, p_query text, p_status text, p_before uuid, p_limit integer)
returns table (id uuid, email text, display_name text, role text, status text, created_at timestamptz)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
begin
  perform require_admin(p_actor);
  return query
    select u.id, u.email, u.display_name, u.role, u.status, u.created_at
    from users u
    where (p_before is null or u.id < p_before) and (p_status is null or u.status = p_status)
      and (p_query is null or position(lower(p_query) in u.email_key) > 0 or position(lower(p_query) in lower(u.display_name)) > 0)
    order by u.id desc
    limit p_limit;
end
$$;

-- add_user: an administrator makes an account, which is active at once. Arguments as create_user. p_key: idempotency key or null.
-- Returns the account. Raises RG403 RGP.RBAC.FORBIDDEN; RG409 RGP.CONFLICT when the address is taken, and for a key used otherwise.
create or replace function rustygpt_api.add_user(
  p_actor uuid, p_email text, p_display_name text, p_password_hash text, p_role text, p_key text
) returns jsonb
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_answer jsonb;
  v_user users;
begin
  perform require_admin(p_actor);
  v_answer := recall_answer(p_actor, 'user', p_key, md5(jsonb_build_array(p_email, p_display_name, p_role)::text));
  if v_answer is not null then
    return v_answer;
  end if;
  v_user := insert_user(p_email, p_display_name, p_password_hash, p_role);
  perform audit(p_actor, 'user.created', v_user.id::text, jsonb_build_object('role', p_role));
  v_answer := user_json(v_user);
  perform keep_answer(p_actor, 'user', p_key, v_answer);
  return v_answer;
end
$$;

-- change_user: give an account another role or status; null leaves it. p_actor: the administrator, or null for the operator.
-- Disabling ends the user's sessions for good; API keys rest until the account is active again. A new role makes every session of
-- the user take a new token at its next request. Returns the account, whether anything changed, and the sessions and keys whose live
-- streams must end. Raises RG404 RGP.NOT_FOUND; RG409 RGP.CONFLICT for one's own status and for the last active administrator.
-- Locks installation, so that of two administrators who demote each other one stays; then the user, then the sessions.
create or replace function rustygpt.change_user(
  p_actor uuid, p_user uuid, p_role text, p_status text, out v_user rustygpt.users, out v_changed boolean, out v_ended uuid[]
)
language plpgsql as $$
declare
  v_old rustygpt.users;
  v_now timestamptz;
begin
  select u.* into v_old from rustygpt.users u where u.id = p_user for no key update;
  if not found then
    perform rustygpt.fail('RG404', 'RGP.NOT_FOUND', 'There is no such account.');
  end if;
  v_user := v_old;
  v_user.role := coalesce(p_role, v_old.role);
  v_user.status := coalesce(p_status, v_old.status);
  v_changed := v_user is distinct from v_old;
  v_ended := '{}';
  if not v_changed then
    return;
  elsif p_user = p_actor and v_user.status <> v_old.status then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'Nobody changes the status of their own account. Ask another administrator.');
  elsif v_old.role = 'admin' and v_old.status = 'active' and (v_user.role, v_user.status) <> ('admin', 'active') and not exists (
    select from rustygpt.users u where u.role = 'admin' and u.status = 'active' and u.id <> p_user
  ) then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'The last active administrator stays.');
  end if;
  v_now := clock_timestamp();
  update rustygpt.users u set role = v_user.role, status = v_user.status, updated_at = v_now where u.id = p_user
  returning u.* into v_user;
  update rustygpt.sessions s
  set must_rotate = s.must_rotate or v_user.role <> v_old.role,
      revoked_at = case when v_user.status = 'disabled' then v_now else s.revoked_at end
  where s.user_id = p_user and rustygpt.is_live(s, v_now);
  if v_old.status = 'active' and v_user.status <> 'active' then
    select coalesce(array_agg(gone.id), '{}') into v_ended
    from (
      select s.id from rustygpt.sessions s where s.user_id = p_user and s.expires_at > v_now and coalesce(s.revoked_at, v_now) = v_now
      union all
      select k.id from rustygpt.api_keys k where k.user_id = p_user and rustygpt.is_key_live(k, v_now)
    ) gone;
  end if;
  if v_user.role <> v_old.role then
    perform rustygpt.audit(p_actor, 'user.role_changed', p_user::text, jsonb_build_object('from', v_old.role, 'to', v_user.role));
  end if;
  if v_user.status <> v_old.status then
    perform rustygpt.audit(p_actor, 'user.status_changed', p_user::text, jsonb_build_object('from', v_old.status, 'to', v_user.status));
  end if;
end
$$;

-- update_user: change_user by an administrator. Arguments and errors as there; RG403 RGP.RBAC.FORBIDDEN for everybody else.
create or replace function rustygpt_api.update_user(p_actor uuid, p_user uuid, p_role text, p_status text)
returns table (account jsonb, is_changed boolean, ended uuid[])
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
begin
  perform from installation i for update;
  perform require_admin(p_actor);
  return query select user_json(c.v_user), c.v_changed, c.v_ended from change_user(p_actor, p_user, p_role, p_status) c;
end
$$;

-- update_user_by_operator: change_user by whoever runs the server, by address. Arguments and errors as there.
create or replace function rustygpt_api.update_user_by_operator(p_email text, p_role text, p_status text)
returns table (account jsonb, is_changed boolean, ended uuid[])
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_id uuid;
begin
  perform from installation i for update;
  select u.id into v_id from users u where u.email_key = email_key(p_email);
  return query select user_json(c.v_user), c.v_changed, c.v_ended from change_user(null, v_id, p_role, p_status) c;
end
$$;

-- list_users_for_operator: all accounts, the oldest first, for whoever runs the server.
create or replace function rustygpt_api.list_users_for_operator()
returns table (id uuid, email text, display_name text, role text, status text, created_at timestamptz)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select u.id, u.email, u.display_name, u.role, u.status, u.created_at from users u order by u.id
$$;
