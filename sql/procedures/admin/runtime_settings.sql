-- list_runtime_settings: what was changed while the server ran, by key.
create or replace function rustygpt_api.list_runtime_settings()
returns table (key text, value jsonb, configured jsonb, changed_at timestamptz, changed_by uuid, changed_by_email text)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select s.key, s.value, s.configured, s.changed_at, s.changed_by, u.email
  from runtime_settings s left join users u on u.id = s.changed_by
  order by s.key
$$;

-- change_runtime_settings: let p_changes (an object: value by key; null takes a change back) hold from now on. p_configured: what is
-- configured, by key. Each change is noted in the audit log; what is so already is no change. Raises RG403 RGP.RBAC.FORBIDDEN.
-- Locks the table until the end of the transaction, so that changes come one after the other.
create or replace function rustygpt_api.change_runtime_settings(p_actor uuid, p_changes jsonb, p_configured jsonb) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_key text;
  v_value jsonb;
  v_old jsonb;
begin
  perform require_admin(p_actor);
  lock table runtime_settings in share row exclusive mode;
  for v_key, v_value in select e.key, e.value from jsonb_each(p_changes) e order by e.key loop
    v_old := coalesce((select s.value from runtime_settings s where s.key = v_key), p_configured -> v_key);
    if v_value = 'null' then
      v_value := p_configured -> v_key;
      delete from runtime_settings s where s.key = v_key;
    else
      insert into runtime_settings (key, value, configured, changed_by) values (v_key, v_value, p_configured -> v_key, p_actor)
      on conflict (key) do update
      set value = excluded.value, configured = excluded.configured, changed_by = p_actor, changed_at = clock_timestamp();
    end if;
    if v_value is distinct from v_old then
      perform audit(p_actor, 'settings.changed', v_key, jsonb_build_object('from', v_old, 'to', v_value));
    end if;
  end loop;
end
$$;

-- forget_runtime_settings: at a start, drop changes of settings whose configured value is another one than it was then: who edits the
-- configuration has the last word. p_configured: what is configured now, by key; keys that it lacks are dropped too. Returns the keys.
create or replace function rustygpt_api.forget_runtime_settings(p_configured jsonb) returns table (key text)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_setting runtime_settings;
begin
  lock table runtime_settings in share row exclusive mode;
  for v_setting in
    delete from runtime_settings s where s.configured is distinct from p_configured -> s.key returning s.*
  loop
    perform audit(null, 'settings.forgotten', v_setting.key,
      jsonb_build_object('from', v_setting.value, 'to', p_configured -> v_setting.key));
    return query select v_setting.key;
  end loop;
end
$$;
