-- audit: note a privileged act in the transaction that does it. p_action: such as user.disabled. p_details: what changed, no secrets.
create or replace function rustygpt.audit(p_actor uuid, p_action text, p_subject text, p_details jsonb) returns void
language sql as $$
  insert into rustygpt.audit_log (actor_id, action, subject, details) values (p_actor, p_action, p_subject, p_details)
$$;

-- require_admin: refuse everybody but an active administrator, as stored now: what a request's actor was a moment ago does not count.
-- Raises RG403 RGP.RBAC.FORBIDDEN.
create or replace function rustygpt.require_admin(p_actor uuid) returns void
language plpgsql stable as $$
begin
  perform from rustygpt.users u where u.id = p_actor and u.role = 'admin' and u.status = 'active';
  if not found then
    perform rustygpt.fail('RG403', 'RGP.RBAC.FORBIDDEN', 'This is for administrators.');
  end if;
end
$$;

-- list_audit_log: newest first. p_before: the last id of the page before, or null. p_of: acts of this user only, or null.
-- Raises RG403 RGP.RBAC.FORBIDDEN.
create or replace function rustygpt_api.list_audit_log(p_actor uuid, p_of uuid, p_before uuid, p_limit integer)
returns table (id uuid, at timestamptz, actor_id uuid, actor_email text, action text, subject text, details jsonb)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
begin
  perform require_admin(p_actor);
  return query
    select a.id, a.at, a.actor_id, u.email, a.action, a.subject, a.details
    from audit_log a left join users u on u.id = a.actor_id
    where (p_before is null or a.id < p_before) and (p_of is null or a.actor_id = p_of)
    order by a.id desc
    limit p_limit;
end
$$;
