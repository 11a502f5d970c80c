-- notify_bus: tell every process that listens on this database. p_payload: text of less than 8000 bytes.
-- A call of its own, after what it tells of has been committed: within a transaction that writes, NOTIFY would make the
-- commits of all processes wait for each other.
create or replace function rustygpt_api.notify_bus(p_payload text) returns void
language sql volatile security definer set search_path = rustygpt, pg_temp as $$
  select pg_notify('rustygpt_bus', p_payload)
$$;

-- bus_channel: under which name the processes of this database meet where several databases share one Redis.
create or replace function rustygpt_api.bus_channel() returns text
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select 'rustygpt:' || md5(h.system_identifier || '/' || d.oid)
  from event_head h, pg_database d where d.datname = current_database()
$$;
