-- hold_database: become the only process that serves this database, until the connection closes. False when another one is.
-- A bus inside one process tells nobody else, so two such processes would serve each other's users late.
create or replace function rustygpt_api.hold_database() returns boolean
language sql volatile security definer set search_path = rustygpt, pg_temp as $$
  select pg_try_advisory_lock(hashtext('rustygpt'), hashtext('inprocess'))
$$;

-- list_database_holders: the backends of the connections that hold_database gave the database to. Their process ids, in no order.
create or replace function rustygpt_api.list_database_holders() returns table (pid integer)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select distinct l.pid
  from pg_locks l
  join pg_database d on d.oid = l.database and d.datname = current_database()
  where l.locktype = 'advisory' and l.granted and l.pid <> pg_backend_pid()
    and l.classid = hashtext('rustygpt')::oid and l.objid = hashtext('inprocess')::oid
$$;
