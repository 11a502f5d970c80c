-- Every change here is an administrator's: each raises RG403 RGP.RBAC.FORBIDDEN for anybody else, is noted in the audit log, and locks
-- limit_version until the end of its transaction, so that changes come one after the other.

-- limits_changed: tell every process that looks that there is something new. Locks limit_version until the end of the transaction.
create or replace function rustygpt.limits_changed() returns void
language sql as $$
  update rustygpt.limit_version set version = version + 1
$$;

-- limit_version: changes whenever a profile or an assignment does.
create or replace function rustygpt_api.limit_version() returns bigint
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select v.version from limit_version v
$$;

-- list_limit_profiles: all of them, by name.
create or replace function rustygpt_api.list_limit_profiles()
returns table (id uuid, name text, requests integer, per_seconds integer, burst integer, created_at timestamptz, updated_at timestamptz)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select p.id, p.name, p.requests, p.per_seconds, p.burst, p.created_at, p.updated_at from limit_profiles p order by p.name
$$;

-- list_limit_assignments: all of them, by route and method, with their profile's name.
create or replace function rustygpt_api.list_limit_assignments()
returns table (id uuid, profile_id uuid, profile text, method text, route text, counted_by text, created_at timestamptz)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select a.id, a.profile_id, p.name, a.method, a.route, a.counted_by, a.created_at
  from limit_assignments a join limit_profiles p on p.id = a.profile_id
  order by a.route, a.method
$$;

-- create_limit_profile: on average p_requests in p_per_seconds, at most p_burst at once.
-- Raises RG409 RGP.CONFLICT when the name is taken.
create or replace function rustygpt_api.create_limit_profile(
  p_actor uuid, p_name text, p_requests integer, p_per_seconds integer, p_burst integer
) returns table (id uuid, name text, requests integer, per_seconds integer, burst integer, created_at timestamptz, updated_at timestamptz)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
begin
  perform require_admin(p_actor);
  perform limits_changed();
  return query
    insert into limit_profiles (name, requests, per_seconds, burst) values (p_name, p_requests, p_per_seconds, p_burst)
    on conflict (name) do nothing
    returning id, name, requests, per_seconds, burst, created_at, updated_at;
  if not found then
    perform fail('RG409', 'RGP.CONFLICT', 'There is a profile of this name already.');
  end if;
  perform audit(p_actor, 'limits.profile_created', p_name,
    jsonb_build_object('requests', p_requests, 'per_seconds', p_per_seconds, 'burst', p_burst));
end
$$;

-- update_limit_profile: replace what it says; what was taken under it stays taken.
-- Raises RG404 RGP.NOT_FOUND; RG409 RGP.CONFLICT when the name is another's, or is needed by the server. Locks the profile.
create or replace function rustygpt_api.update_limit_profile(
  p_actor uuid, p_profile uuid, p_name text, p_requests integer, p_per_seconds integer, p_burst integer
) returns table (id uuid, name text, requests integer, per_seconds integer, burst integer, created_at timestamptz, updated_at timestamptz)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_name text;
begin
  perform require_admin(p_actor);
  perform limits_changed();
  select p.name into v_name from limit_profiles p where p.id = p_profile for update;
  if not found then
    perform fail('RG404', 'RGP.NOT_FOUND', 'There is no such profile.');
  end if;
  if v_name = 'posting' and p_name <> 'posting' then
    perform fail('RG409', 'RGP.CONFLICT', 'The profile posting limits how fast messages are posted; its name stays.');
  end if;
  perform audit(p_actor, 'limits.profile_changed', v_name,
    jsonb_build_object('name', p_name, 'requests', p_requests, 'per_seconds', p_per_seconds, 'burst', p_burst));
  return query
    update limit_profiles p
    set name = p_name, requests = p_requests, per_seconds = p_per_seconds, burst = p_burst, updated_at = clock_timestamp()
    where p.id = p_profile
    returning p.id, p.name, p.requests, p.per_seconds, p.burst, p.created_at, p.updated_at;
exception
  when unique_violation then
    perform fail('RG409', 'RGP.CONFLICT', 'There is a profile of this name already.');
end
$$;

-- delete_limit_profile: forget a profile and what was taken under it. Raises RG404 RGP.NOT_FOUND; RG409 RGP.CONFLICT while it is assigned, or when the server needs it.
create or replace function rustygpt_api.delete_limit_profile(p_actor uuid, p_profile uuid) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
begin
  perform require_admin(p_actor);
  perform limits_changed();
  if (select p.name from limit_profiles p where p.id = p_profile) = 'posting' then
    perform fail('RG409', 'RGP.CONFLICT', 'The profile posting limits how fast messages are posted; change it instead.');
  end if;
  delete from limit_profiles p where p.id = p_profile;
  if not found then
    perform fail('RG404', 'RGP.NOT_FOUND', 'There is no such profile.');
  end if;
  delete from limit_states s where s.profile_id = p_profile;
  perform audit(p_actor, 'limits.profile_deleted', p_profile::text, '{}');
exception
  when foreign_key_violation then
    perform fail('RG409', 'RGP.CONFLICT', 'The profile is assigned to a route; delete the assignment first.');
end
$$;

-- create_limit_assignment: p_method: * or a method. p_route: a template, or a beginning followed by *. p_counted_by: user or ip.
-- Raises RG404 RGP.NOT_FOUND for an unknown profile; RG409 RGP.CONFLICT when the route has one for this method, and at 1000 of them.
create or replace function rustygpt_api.create_limit_assignment(
  p_actor uuid, p_profile uuid, p_method text, p_route text, p_counted_by text
) returns table (id uuid, profile_id uuid, profile text, method text, route text, counted_by text, created_at timestamptz)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_id uuid;
begin
  perform require_admin(p_actor);
  perform limits_changed();
  if (select count(*) from limit_assignments) >= 1000 then
    perform fail('RG409', 'RGP.CONFLICT', 'There are 1000 assignments already.');
  end if;
  insert into limit_assignments (profile_id, method, route, counted_by) values (p_profile, p_method, p_route, p_counted_by)
  on conflict (route, method) do nothing
  returning limit_assignments.id into v_id;
  if v_id is null then
    perform fail('RG409', 'RGP.CONFLICT', 'This route has an assignment for this method already.');
  end if;
  perform audit(p_actor, 'limits.assignment_created', p_method || ' ' || p_route,
    jsonb_build_object('profile_id', p_profile, 'counted_by', p_counted_by));
  return query select a.* from rustygpt_api.list_limit_assignments() a where a.id = v_id;
exception
  when foreign_key_violation then
    perform fail('RG404', 'RGP.NOT_FOUND', 'There is no such profile.');
end
$$;

-- delete_limit_assignment: free a route of its limit. Raises RG404 RGP.NOT_FOUND.
create or replace function rustygpt_api.delete_limit_assignment(p_actor uuid, p_assignment uuid) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
begin
  perform require_admin(p_actor);
  perform limits_changed();
  delete from limit_assignments a where a.id = p_assignment;
  if not found then
    perform fail('RG404', 'RGP.NOT_FOUND', 'There is no such assignment.');
  end if;
  perform audit(p_actor, 'limits.assignment_deleted', p_assignment::text, '{}');
end
$$;
