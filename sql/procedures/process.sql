-- hold_database: serve this database from now on, until the connection closes, beside processes with the same bus only.
-- p_bus: inprocess (which tells nobody else, so it bears no second process), postgres or redis.
-- Returns the empty text when held, else the bus of a process that stands in the way.
create or replace function rustygpt_api.hold_database(p_bus text) returns text
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_space integer := hashtext('rustygpt');
  v_other text;
begin
  perform pg_advisory_xact_lock(v_space, hashtext('hold_database'));  -- two that start at once look at each other in turn
  foreach v_other in array array['inprocess', 'postgres', 'redis'] loop
    if v_other <> p_bus and not pg_try_advisory_xact_lock(v_space, hashtext(v_other)) then
      return v_other;
    end if;
  end loop;
  if p_bus = 'inprocess' then
    return case when pg_try_advisory_lock(v_space, hashtext(p_bus)) then '' else p_bus end;
  end if;
  return case when pg_try_advisory_lock_shared(v_space, hashtext(p_bus)) then '' else p_bus end;
end
$$;

-- list_database_holders: the backends of the connections that hold_database gave the database to. Their process ids, in no order.
create or replace function rustygpt_api.list_database_holders() returns table (pid integer)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select distinct l.pid
  from pg_locks l
  join pg_database d on d.oid = l.database and d.datname = current_database()
  where l.locktype = 'advisory' and l.granted and l.pid <> pg_backend_pid()
    and l.classid = hashtext('rustygpt')::oid and l.objid in (hashtext('inprocess')::oid, hashtext('postgres')::oid, hashtext('redis')::oid)
$$;
