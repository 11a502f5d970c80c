-- take_request: count one request of a subject under a profile (GCRA). A refused one is not counted.
-- Returns whether it is allowed; burst; how many more may follow at once; the seconds until that is the whole burst again, and, when
-- refused, until the next may come. Locks the subject's state, so no number of processes exceeds the profile.
create or replace function rustygpt.take_request(p_profile rustygpt.limit_profiles, p_subject text)
returns table (is_allowed boolean, burst integer, remaining integer, reset_seconds double precision, retry_seconds double precision)
language plpgsql as $$
declare
  v_step double precision := p_profile.per_seconds::double precision / p_profile.requests;
  v_arrival timestamptz;
  v_now timestamptz;
begin
  insert into rustygpt.limit_states (profile_id, subject, arrival_at) values (p_profile.id, p_subject, '-infinity') on conflict do nothing;
  select s.arrival_at into v_arrival
  from rustygpt.limit_states s where s.profile_id = p_profile.id and s.subject = p_subject for update;
  v_now := clock_timestamp();  -- after the wait for the lock
  -- Nobody owes more than a burst. Who seems to was counted by a clock that was set back since, or by a slower profile, and may take one:
  -- a refusal that is raised as an error undoes what is stored here, and would be repeated until the old time has come again.
  if v_arrival > v_now + make_interval(secs => v_step * p_profile.burst + 0.001) then
    v_arrival := v_now + make_interval(secs => v_step * (p_profile.burst - 1));
  end if;
  v_arrival := greatest(v_arrival, v_now);
  burst := p_profile.burst;
  is_allowed := extract(epoch from v_arrival - v_now) <= v_step * (p_profile.burst - 1) + 0.000001;  -- timestamps have microseconds
  if is_allowed then
    v_arrival := v_arrival + make_interval(secs => v_step);
  end if;
  update rustygpt.limit_states s set arrival_at = v_arrival where s.profile_id = p_profile.id and s.subject = p_subject;
  reset_seconds := extract(epoch from v_arrival - v_now);
  remaining := greatest(0, floor(p_profile.burst - reset_seconds / v_step + 0.000001));
  retry_seconds := case when is_allowed then 0 else reset_seconds - v_step * (p_profile.burst - 1) end;
  return next;
end
$$;

-- take_http_request: the same for an HTTP request. Returns no row when the profile has been deleted meanwhile.
create or replace function rustygpt_api.take_http_request(p_profile uuid, p_subject text)
returns table (
  is_allowed boolean, burst integer, remaining integer, reset_seconds double precision, retry_seconds double precision
)
language sql security definer set search_path = rustygpt, pg_temp as $$
  select t.* from limit_profiles p cross join lateral take_request(p, p_subject) t where p.id = p_profile
$$;

-- limit_posting: count a message of a member of a conversation under the profile `posting`. Part of the transaction that posts, so what is
-- not stored is not counted, and no number of processes lets more through. Raises RG429 RGP.RATE_LIMITED.
create or replace function rustygpt.limit_posting(p_actor uuid, p_conversation uuid) returns void
language plpgsql as $$
declare
  v_taken record;
begin
  select t.* into v_taken
  from rustygpt.limit_profiles p
  cross join lateral rustygpt.take_request(p, format('member:%s:%s', p_conversation, p_actor)) t
  where p.name = 'posting';
  if not v_taken.is_allowed then
    perform rustygpt.fail_limited('You are posting too fast in this conversation.', 'posting', v_taken.burst, v_taken.remaining,
      v_taken.reset_seconds, least(120, v_taken.retry_seconds));
  end if;
end
$$;

-- forget_limit_states: delete the states of subjects that may take their whole burst again, and login failures of an hour ago.
-- Returns how many, at most p_limit of each.
create or replace function rustygpt_api.forget_limit_states(p_limit integer) returns bigint
language sql security definer set search_path = rustygpt, pg_temp as $$
  with idle as (
    delete from limit_states s where (s.profile_id, s.subject) in (
      select o.profile_id, o.subject from limit_states o where o.arrival_at < clock_timestamp() limit p_limit for update skip locked)
    returning 1
  ), old as (
    delete from login_failures f where f.subject in (
      select o.subject from login_failures o where o.retry_at < clock_timestamp() - interval '1 hour' limit p_limit
      for update skip locked)
    returning 1
  )
  select (select count(*) from idle) + (select count(*) from old)
$$;
