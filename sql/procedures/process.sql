-- hold_database: become the only process that serves this database, until the connection closes. False when another one is.
-- A bus inside one process tells nobody else, so two such processes would serve each other's users late.
create or replace function rustygpt_api.hold_database() returns boolean
language sql volatile security definer set search_path = rustygpt, pg_temp as $$
  select pg_try_advisory_lock(hashtext('rustygpt'), hashtext('inprocess'))
$$;
