-- prune_rows: delete idempotency keys older than p_idempotency_seconds, sessions that ended p_session_seconds ago, sign-ins by a
-- provider that never came back, invites that expired long ago and quota reservations of periods that ended, at most p_limit of each. Returns the largest of the counts: p_limit means that there may be more.
create or replace function rustygpt_api.prune_rows(
  p_idempotency_seconds double precision, p_session_seconds double precision, p_limit integer
) returns integer
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_keys integer;
  v_sessions integer;
begin
  delete from idempotency_keys k
  where (k.user_id, k.scope, k.key) in (
    select o.user_id, o.scope, o.key from idempotency_keys o
    where o.created_at < clock_timestamp() - make_interval(secs => p_idempotency_seconds)
    order by o.created_at limit p_limit
  );
  get diagnostics v_keys = row_count;
  delete from sessions s
  where s.id in (
    select o.id from sessions o
    where least(o.expires_at, o.revoked_at) < clock_timestamp() - make_interval(secs => p_session_seconds)
    limit p_limit
  );
  get diagnostics v_sessions = row_count;
  return greatest(v_keys, v_sessions, prune_oauth_states(p_limit), prune_invites(p_limit), prune_quota_reservations(p_limit));
end
$$;

-- applied_scripts: the ledger, for readiness: which scripts this database has, and the checksums they had.
create or replace function rustygpt_api.applied_scripts() returns table (path text, kind text, checksum text)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select l.path, l.kind, l.checksum from schema_ledger l
$$;
