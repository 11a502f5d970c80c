-- Files of the library: where they came from, and whether one may be removed. The folder itself says which there are.

-- put_model_file: note a file that is in its place now. p_file: {sha256, size_bytes, details}.
create or replace function rustygpt.put_model_file(p_actor uuid, p_name text, p_source text, p_file jsonb) returns void
language sql as $$
  insert into rustygpt.model_files (name, source, sha256, size_bytes, details, added_by)
  values (p_name, p_source, p_file ->> 'sha256', (p_file ->> 'size_bytes')::bigint, p_file -> 'details', p_actor)
  on conflict (name) do update
  set source = excluded.source, sha256 = excluded.sha256, size_bytes = excluded.size_bytes, details = excluded.details,
      added_by = excluded.added_by, added_at = clock_timestamp()
$$;

-- list_model_files: all that is noted, by name.
create or replace function rustygpt_api.list_model_files()
returns table (name text, source text, sha256 text, size_bytes bigint, details jsonb, added_by uuid, added_at timestamptz)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select f.name, f.source, f.sha256, f.size_bytes, f.details, f.added_by, f.added_at from model_files f order by f.name
$$;

-- require_model_admin: refuse whoever may not change the library, before anything is done. Raises RG403 RGP.RBAC.FORBIDDEN.
create or replace function rustygpt_api.require_model_admin(p_actor uuid) returns void
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select require_admin(p_actor)
$$;

-- add_model_file: note a file that an administrator has uploaded. p_file: {sha256, size_bytes, details}.
-- Raises RG403 RGP.RBAC.FORBIDDEN. Locks model_version.
create or replace function rustygpt_api.add_model_file(p_actor uuid, p_name text, p_file jsonb) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
begin
  perform require_admin(p_actor);
  perform models_changed();
  perform put_model_file(p_actor, p_name, 'upload', p_file);
  perform audit(p_actor, 'model.uploaded', p_name, p_file - 'details');
end
$$;

-- require_model_unused: refuse when a reply is being written by the model, or the model is being pulled. Raises RG409 RGP.CONFLICT.
create or replace function rustygpt_api.require_model_unused(p_provider text, p_model text) returns void
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
begin
  perform from generations g where g.state = 'running' and g.provider = p_provider and g.model = p_model;
  if found then
    perform fail('RG409', 'RGP.CONFLICT', 'This model is writing a reply. Wait for its end, or stop it.');
  end if;
  perform from model_jobs j where j.state in ('queued', 'running') and j.provider = p_provider and j.model = p_model;
  if found then
    perform fail('RG409', 'RGP.CONFLICT', 'This model is being pulled. Cancel that first.');
  end if;
end
$$;

-- note_model_removed: a model is gone by an administrator's will (p_actor null: the operator's). Locks model_version.
create or replace function rustygpt_api.note_model_removed(p_actor uuid, p_provider text, p_model text) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
begin
  perform models_changed();
  delete from model_files f where f.name = p_model and p_provider = 'llama_cpp';
  perform audit(p_actor, 'model.deleted', p_model, jsonb_build_object('provider', p_provider));
end
$$;
