-- login_wait: for how many seconds a sign-in to this account from this network must still wait; 0 when it may be tried.
create or replace function rustygpt_api.login_wait(p_subject bytea) returns double precision
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select coalesce(
    (select greatest(0, extract(epoch from f.retry_at - clock_timestamp())) from login_failures f where f.subject = p_subject), 0
  )::double precision
$$;

-- note_login: a sign-in succeeded, which forgets the failures, or failed: after p_free failures each one doubles the wait, from 1 s
-- up to p_max_seconds. An hour after the last wait ended the count starts anew.
create or replace function rustygpt_api.note_login(p_subject bytea, p_is_success boolean, p_free integer, p_max_seconds integer) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  if p_is_success then
    delete from login_failures f where f.subject = p_subject;
    return;
  end if;
  insert into login_failures as f (subject, failures, retry_at) values (p_subject, 1, v_now)
  on conflict (subject) do update
  set failures = case when f.retry_at < v_now - interval '1 hour' then 1 else f.failures + 1 end,
      retry_at = case
        when f.retry_at < v_now - interval '1 hour' or f.failures < p_free then v_now
        else v_now + make_interval(secs => least(p_max_seconds, 2 ^ least(f.failures - p_free, 20)))
      end;
end
$$;
