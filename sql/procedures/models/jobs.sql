-- Jobs: pulls of models, each run by one process at a time, which holds a lease by the database's clock and a fence.

-- model_job_json: a job as administrators see it. bytes_total: null while nobody knows. code: why it failed, or null.
create or replace function rustygpt.model_job_json(p_job rustygpt.model_jobs) returns jsonb
language sql stable as $$
  select jsonb_build_object(
    'id', p_job.id, 'kind', p_job.kind, 'source', p_job.source, 'provider', p_job.provider, 'model', p_job.model,
    'state', p_job.state, 'bytes_done', p_job.bytes_done, 'bytes_total', p_job.bytes_total, 'code', p_job.code,
    'message', p_job.message, 'is_cancelling', p_job.state = 'running' and p_job.cancel_requested_at is not null,
    'requested_by', p_job.requested_by, 'created_at', rustygpt.rfc3339(p_job.created_at),
    'started_at', rustygpt.rfc3339(p_job.started_at), 'finished_at', rustygpt.rfc3339(p_job.finished_at))
$$;

-- models_changed: tell every process that looks that there are other models. Locks model_version until the end of the transaction.
create or replace function rustygpt.models_changed() returns void
language sql as $$
  update rustygpt.model_version set version = version + 1
$$;

-- look_at_models: what a process asks every second or so. version changes whenever the library does; has_work: a job may be claimed.
create or replace function rustygpt_api.look_at_models() returns table (version bigint, has_work boolean)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select v.version, exists (select from model_jobs j where j.state in ('queued', 'running')) from model_version v
$$;

-- add_model_job: queue a pull, or find the one that is under way for the same model from the same source.
-- p_kind: file or ollama. p_source: to be shown; p_url: to be fetched. p_max_open: jobs that may run or wait.
-- Raises RG409 RGP.CONFLICT when the model is being pulled from elsewhere, or with another checksum; RG503 RGP.UNAVAILABLE when too many
-- are open. Locks model_version.
create or replace function rustygpt.add_model_job(
  p_actor uuid, p_kind text, p_source text, p_url text, p_provider text, p_model text, p_sha256 text, p_max_open integer
) returns rustygpt.model_jobs
language plpgsql as $$
declare
  v_job rustygpt.model_jobs;
begin
  perform rustygpt.models_changed();
  select j.* into v_job from rustygpt.model_jobs j
  where j.provider = p_provider and j.model = p_model and j.state in ('queued', 'running');
  if found then
    if v_job.url <> p_url or v_job.cancel_requested_at is not null
      or (p_sha256 is not null and p_sha256 is distinct from v_job.expected_sha256) then
      perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'A model of this name is being pulled already. Wait for that job, or cancel it.');
    end if;
    return v_job;
  end if;
  if (select count(*) from rustygpt.model_jobs j where j.state in ('queued', 'running')) >= p_max_open then
    perform rustygpt.fail_for_now('RG503', 'RGP.UNAVAILABLE', 'Too many pulls are waiting. Try again when some are done.', 60);
  end if;
  delete from rustygpt.model_jobs j where j.finished_at < clock_timestamp() - interval '30 days';
  insert into rustygpt.model_jobs (kind, source, url, provider, model, expected_sha256, requested_by, message)
  values (p_kind, p_source, p_url, p_provider, p_model, p_sha256, p_actor, 'Waits for its turn.')
  returning * into v_job;
  perform rustygpt.audit(p_actor, 'model.pull_asked', v_job.model,
    jsonb_build_object('source', p_source, 'provider', p_provider, 'job', v_job.id));
  return v_job;
end
$$;

-- create_model_job: add_model_job by an administrator. p_key: the client's idempotency key or null. Arguments and errors as there;
-- RG403 RGP.RBAC.FORBIDDEN for everybody else, RG409 RGP.CONFLICT for a key used otherwise.
create or replace function rustygpt_api.create_model_job(
  p_actor uuid, p_kind text, p_source text, p_url text, p_provider text, p_model text, p_sha256 text, p_max_open integer, p_key text
) returns jsonb
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_answer jsonb;
begin
  perform require_admin(p_actor);
  v_answer := recall_answer(p_actor, 'model_job', p_key, md5(jsonb_build_array(p_url, p_provider, p_model, p_sha256)::text));
  if v_answer is null then
    v_answer := model_job_json(add_model_job(p_actor, p_kind, p_source, p_url, p_provider, p_model, p_sha256, p_max_open));
    perform keep_answer(p_actor, 'model_job', p_key, v_answer);
  end if;
  return v_answer;
end
$$;

-- create_model_job_by_operator: add_model_job by whoever runs the server. Arguments and errors as there.
create or replace function rustygpt_api.create_model_job_by_operator(
  p_kind text, p_source text, p_url text, p_provider text, p_model text, p_sha256 text, p_max_open integer
) returns jsonb
language sql security definer set search_path = rustygpt, pg_temp as $$
  select model_job_json(add_model_job(null, p_kind, p_source, p_url, p_provider, p_model, p_sha256, p_max_open))
$$;

-- list_model_jobs: newest first. p_before: the last id of the page before, or null. Raises RG403 RGP.RBAC.FORBIDDEN.
create or replace function rustygpt_api.list_model_jobs(p_actor uuid, p_before uuid, p_limit integer) returns table (id uuid, job jsonb)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
begin
  perform require_admin(p_actor);
  return query
    select j.id, model_job_json(j) from model_jobs j where p_before is null or j.id < p_before order by j.id desc limit p_limit;
end
$$;

-- get_model_job: one job, for an administrator. Raises RG403 RGP.RBAC.FORBIDDEN, RG404 RGP.NOT_FOUND.
create or replace function rustygpt_api.get_model_job(p_actor uuid, p_job uuid) returns jsonb
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
begin
  perform require_admin(p_actor);
  return find_model_job(p_job);
end
$$;

-- get_model_job_for_operator: one job, for whoever runs the server. Raises RG404 RGP.NOT_FOUND.
create or replace function rustygpt_api.get_model_job_for_operator(p_job uuid) returns jsonb
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select find_model_job(p_job)
$$;

-- find_model_job: one job. Raises RG404 RGP.NOT_FOUND.
create or replace function rustygpt.find_model_job(p_job uuid) returns jsonb
language plpgsql stable as $$
declare
  v_job rustygpt.model_jobs;
begin
  select j.* into v_job from rustygpt.model_jobs j where j.id = p_job;
  if not found then
    perform rustygpt.fail('RG404', 'RGP.NOT_FOUND', 'There is no such job.');
  end if;
  return rustygpt.model_job_json(v_job);
end
$$;

-- cancel_model_job: stop a pull by an administrator, on whatever process it runs; twice is once, and one that is over stays as it is.
-- Raises RG403 RGP.RBAC.FORBIDDEN, RG404 RGP.NOT_FOUND. Locks the job.
create or replace function rustygpt_api.cancel_model_job(p_actor uuid, p_job uuid) returns jsonb
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
begin
  perform require_admin(p_actor);
  return stop_model_job(p_actor, p_job);
end
$$;

-- cancel_model_job_by_operator: the same by whoever runs the server. Raises RG404 RGP.NOT_FOUND. Locks the job.
create or replace function rustygpt_api.cancel_model_job_by_operator(p_job uuid) returns jsonb
language sql security definer set search_path = rustygpt, pg_temp as $$
  select stop_model_job(null, p_job)
$$;

-- stop_model_job: ask for a stop; a job that nobody has begun is over at once. Raises RG404 RGP.NOT_FOUND. Locks the job.
create or replace function rustygpt.stop_model_job(p_actor uuid, p_job uuid) returns jsonb
language plpgsql as $$
declare
  v_old rustygpt.model_jobs;
  v_job rustygpt.model_jobs;
begin
  select j.* into v_old from rustygpt.model_jobs j where j.id = p_job for no key update;
  if v_old.state in ('queued', 'running') and v_old.cancel_requested_at is null then
    -- One that was begun and waits again has left a part of the file behind, which its next owner removes.
    update rustygpt.model_jobs j
    set cancel_requested_at = clock_timestamp(),
        state = case when j.state = 'queued' and j.fence = 0 then 'cancelled' else j.state end,
        message = case when j.state = 'queued' and j.fence = 0 then 'Cancelled.' else j.message end,
        finished_at = case when j.state = 'queued' and j.fence = 0 then clock_timestamp() end
    where j.id = p_job
    returning j.* into v_job;
    perform rustygpt.audit(p_actor, 'model.pull_cancelled', v_job.model, jsonb_build_object('source', v_job.source, 'job', v_job.id));
  end if;
  return rustygpt.find_model_job(p_job);
end
$$;

-- claim_model_job: take the oldest job that waits, or whose owner is dead.
-- p_owner: this process. p_is_alone: no other process serves this database, so what others own is orphaned. p_job: only this one, or null.
-- p_max_running: jobs that may run at once, everywhere. Returns one row or none; two claims never get the same. Locks the job.
create or replace function rustygpt_api.claim_model_job(
  p_owner text, p_is_alone boolean, p_job uuid, p_lease_seconds double precision, p_max_running integer
) returns table (
  id uuid, kind text, source text, url text, provider text, model text, expected_sha256 text, validator text, bytes_done bigint,
  bytes_total bigint, fence bigint, attempts integer, is_cancelled boolean, requested_by uuid
)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_id uuid;
begin
  perform pg_advisory_xact_lock(hashtext('rustygpt'), hashtext('claim_model_job'));  -- so that none exceed p_max_running
  if (select count(*) from model_jobs j where j.state = 'running' and j.lease_until > clock_timestamp()
        and not (p_is_alone and j.owner <> p_owner)) >= p_max_running then
    return;
  end if;
  select j.id into v_id from model_jobs j
  where (p_job is null or j.id = p_job)
    and (j.state = 'queued' or (j.state = 'running' and (j.lease_until <= clock_timestamp() or (p_is_alone and j.owner <> p_owner))))
  order by j.id
  limit 1
  for no key update of j skip locked;
  return query
    update model_jobs j
    set state = 'running', owner = p_owner, fence = j.fence + 1, attempts = j.attempts + 1, message = 'Begins.',
        started_at = coalesce(j.started_at, clock_timestamp()),
        lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where j.id = v_id
    returning j.id, j.kind, j.source, j.url, j.provider, j.model, j.expected_sha256, j.validator, j.bytes_done, j.bytes_total, j.fence,
              j.attempts, j.cancel_requested_at is not null, j.requested_by;
end
$$;

-- renew_model_job: say how far a job is and keep it. Returns kept, cancelled (somebody asked for a stop) or lost (another owns it).
create or replace function rustygpt_api.renew_model_job(
  p_job uuid, p_fence bigint, p_bytes_done bigint, p_bytes_total bigint, p_validator text, p_message text, p_lease_seconds double precision
) returns text
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_cancelled boolean;
begin
  update model_jobs j
  set bytes_done = p_bytes_done, bytes_total = p_bytes_total, validator = p_validator, message = p_message,
      attempts = case when p_bytes_done > j.bytes_done then 0 else j.attempts end,
      lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
  where j.id = p_job and j.fence = p_fence and j.state = 'running'
  returning j.cancel_requested_at is not null into v_cancelled;
  return case when v_cancelled is null then 'lost' when v_cancelled then 'cancelled' else 'kept' end;
end
$$;

-- release_model_job: let a job wait again, because its owner ends. Nothing happens when the fence is lost.
create or replace function rustygpt_api.release_model_job(p_job uuid, p_fence bigint) returns void
language sql security definer set search_path = rustygpt, pg_temp as $$
  update model_jobs j set state = 'queued', owner = null, lease_until = null, attempts = 0, message = 'Waits for a server.'
  where j.id = p_job and j.fence = p_fence and j.state = 'running'
$$;

-- finish_model_job: the end of a job. p_state: done, error or cancelled. p_code: why it failed, or null. p_file: of a file that is in its
-- place now, {sha256, size_bytes, details}; else null. Returns false, and does nothing, when the fence is lost. Locks model_version.
create or replace function rustygpt_api.finish_model_job(
  p_job uuid, p_fence bigint, p_state text, p_code text, p_message text, p_bytes_done bigint, p_bytes_total bigint, p_file jsonb
) returns boolean
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_job model_jobs;
begin
  perform models_changed();
  update model_jobs j
  set state = p_state, code = p_code, message = p_message, bytes_done = p_bytes_done, bytes_total = p_bytes_total, validator = null,
      url = '', owner = null, lease_until = null, finished_at = clock_timestamp()
  where j.id = p_job and j.fence = p_fence and j.state = 'running'
  returning j.* into v_job;
  if not found then
    return false;
  end if;
  if p_file is not null then
    perform put_model_file(v_job.requested_by, v_job.model, v_job.source, p_file);
  end if;
  if p_state = 'done' then
    perform audit(v_job.requested_by, 'model.pulled', v_job.model,
      jsonb_build_object('source', v_job.source, 'provider', v_job.provider, 'job', v_job.id));
  end if;
  return true;
end
$$;

-- list_open_model_jobs: the jobs that run or wait, whose parts of files are still wanted.
create or replace function rustygpt_api.list_open_model_jobs() returns table (id uuid)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select j.id from model_jobs j where j.state in ('queued', 'running')
$$;
