-- The two schemas, the role of the application, the ledger, and the base functions that everything else uses.

create schema rustygpt;
create schema rustygpt_api;

-- New functions are executable by PUBLIC unless this is said; access is then granted by rustygpt.grant_access() alone.
alter default privileges revoke execute on functions from public;

create table rustygpt.schema_ledger (
  path text constraint schema_ledger_pkey primary key,
  kind text not null constraint schema_ledger_kind check (kind in ('migration', 'procedure')),
  checksum text not null,
  applied_at timestamptz not null default clock_timestamp(),
  app_version text not null
);

-- fail: raise an error that Python can tell apart.
-- p_sqlstate: class RG, e.g. RG404. p_code: the stable code, e.g. RGP.NOT_FOUND. p_message: one sentence for people.
create function rustygpt.fail(p_sqlstate text, p_code text, p_message text) returns void
language plpgsql immutable as $$
begin
  raise exception using errcode = p_sqlstate, message = p_message, detail = p_code;
end
$$;

-- new_uuid: a UUIDv7 (RFC 9562): 48 bits of Unix milliseconds by the database clock, then random bits.
create function rustygpt.new_uuid() returns uuid
language sql volatile as $$
  select encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
              placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
              from 1 for 6),
      52, 1), 53, 1),
    'hex')::uuid
$$;

-- rfc3339: a time as the HTTP contract writes it, in UTC with microseconds.
create function rustygpt.rfc3339(p_at timestamptz) returns text
language sql immutable as $$
  select to_char(p_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- grant_access: let rustygpt_app execute exactly the functions of rustygpt_api. Called after each change of procedures.
create function rustygpt.grant_access() returns void
language plpgsql as $$
begin
  revoke all on all functions in schema rustygpt, rustygpt_api from public;
  if exists (select from pg_roles where rolname = 'rustygpt_app') then
    grant usage on schema rustygpt_api to rustygpt_app;
    grant execute on all functions in schema rustygpt_api to rustygpt_app;
  end if;
end
$$;

do $$
begin
  create role rustygpt_app nologin noinherit;
exception
  when duplicate_object or unique_violation then null;  -- another database of this cluster, or another process, made it
  when insufficient_privilege then
    raise warning 'role rustygpt_app could not be created; connections keep the rights of their login role';
end
$$;

do $$
begin
  if exists (select from pg_roles where rolname = 'rustygpt_app') and not pg_has_role(current_user, 'rustygpt_app', 'member') then
    execute format('grant rustygpt_app to %I', current_user);  -- a superuser is always a member; an ordinary owner must be made one
  end if;
exception
  when insufficient_privilege then
    raise warning 'role rustygpt_app could not be granted to %; connections keep the rights of their login role', current_user;
end
$$;
