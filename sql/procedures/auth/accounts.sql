-- email_key: the form in which two spellings of one address are equal.
create or replace function rustygpt.email_key(p_email text) returns text
language sql immutable as $$
  select lower(p_email)
$$;

-- insert_user: add an account. Arguments as create_user; p_password_hash may be null for who came by a provider. An administrator
-- closes the set-up. Raises RG409 RGP.CONFLICT when the address is taken. Locks installation (administrators only).
create or replace function rustygpt.insert_user(
  p_email text, p_display_name text, p_password_hash text, p_role text, p_status text default 'active'
) returns rustygpt.users
language plpgsql as $$
declare
  v_user rustygpt.users;
begin
  if p_role = 'admin' then
    update rustygpt.installation i set set_up_at = clock_timestamp() where i.set_up_at is null;
  end if;
  insert into rustygpt.users (email, email_key, display_name, password_hash, role, status)
  values (p_email, rustygpt.email_key(p_email), p_display_name, p_password_hash, p_role, p_status)
  on conflict on constraint users_email_key do nothing
  returning * into v_user;
  if not found then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'There is already an account with this e-mail address.');
  end if;
  return v_user;
end
$$;

-- is_set_up: whether an administrator was ever created. Once true it stays true.
create or replace function rustygpt_api.is_set_up() returns boolean
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select i.set_up_at is not null from installation i
$$;

-- create_first_administrator: add the first administrator and close the set-up for good, in one transaction.
-- p_password_hash: Argon2id, PHC format. Returns the account.
-- Raises RG409 RGP.CONFLICT when set-up is done (of two that race, one) or the address is taken. Locks installation.
create or replace function rustygpt_api.create_first_administrator(p_email text, p_display_name text, p_password_hash text)
returns table (id uuid, email text, display_name text, role text, status text, created_at timestamptz)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_user users;
begin
  update installation i set set_up_at = clock_timestamp() where i.set_up_at is null;
  if not found then
    perform fail('RG409', 'RGP.CONFLICT', 'Set-up is done: the first administrator exists.');
  end if;
  v_user := insert_user(p_email, p_display_name, p_password_hash, 'admin');
  perform audit(v_user.id, 'installation.set_up', v_user.id::text, '{"role": "admin"}');
  return query select v_user.id, v_user.email, v_user.display_name, v_user.role, v_user.status, v_user.created_at;
end
$$;

-- create_user: add an account, by registration or by an operator. The caller decides whether that is allowed.
-- p_password_hash: Argon2id, PHC format. p_role: admin or user.
-- p_status: active, or pending for an account that waits until an administrator lets it in. p_by_operator: by whoever runs the server,
-- which is noted in the audit log.
-- Returns the account. Raises RG409 RGP.CONFLICT when the address is taken. Locks installation (administrators only).
create or replace function rustygpt_api.create_user(
  p_email text, p_display_name text, p_password_hash text, p_role text, p_status text, p_by_operator boolean default false
) returns table (id uuid, email text, display_name text, role text, status text, created_at timestamptz)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_user users;
begin
  v_user := insert_user(p_email, p_display_name, p_password_hash, p_role, p_status);
  if p_by_operator then
    perform audit(null, 'user.created', v_user.id::text, jsonb_build_object('role', p_role));
  end if;
  return query select v_user.id, v_user.email, v_user.display_name, v_user.role, v_user.status, v_user.created_at;
end
$$;

-- read_user: an account as its owner sees it. One row for a known actor.
create or replace function rustygpt_api.read_user(p_actor uuid)
returns table (id uuid, email text, display_name text, role text, status text, created_at timestamptz)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select u.id, u.email, u.display_name, u.role, u.status, u.created_at from users u where u.id = p_actor
$$;

-- find_credentials: what a password is checked against; null for an account without one. Returns no row for an unknown address.
create or replace function rustygpt_api.find_credentials(p_email text)
returns table (user_id uuid, password_hash text, status text)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select u.id, u.password_hash, u.status from users u where u.email_key = email_key(p_email)
$$;

-- find_own_credentials: the same for somebody who is signed in. Returns no row for an unknown user.
create or replace function rustygpt_api.find_own_credentials(p_actor uuid)
returns table (user_id uuid, password_hash text, status text)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select u.id, u.password_hash, u.status from users u where u.id = p_actor
$$;

-- replace_password_hash: store the same password hashed with newer parameters.
-- p_known_hash: what the password was checked against; when it is no longer the stored one, nothing is done.
-- Returns whether it was replaced. Locks the user.
create or replace function rustygpt_api.replace_password_hash(p_user uuid, p_known_hash text, p_password_hash text) returns boolean
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
begin
  update users u set password_hash = p_password_hash where u.id = p_user and u.password_hash = p_known_hash;
  return found;
end
$$;
