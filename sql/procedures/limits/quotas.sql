-- Quotas: how many replies, and how many tokens, a person may have written in a period. Reserved in the transaction that asks for a
-- reply, settled in the one that ends it. Lock order: the period of a person comes after the queue and before event_head.

-- set_quota_terms: what holds for everybody without terms of their own; null for p_generations and p_tokens is no limit.
create or replace function rustygpt_api.set_quota_terms(
  p_generations bigint, p_tokens bigint, p_period_seconds double precision, p_reply_tokens integer, p_prompt_characters integer
) returns void
language sql security definer set search_path = rustygpt, pg_temp as $$
  update quota_terms t
  set generations = p_generations, tokens = p_tokens, period_seconds = p_period_seconds, reply_tokens = p_reply_tokens,
      prompt_characters = p_prompt_characters
  where (t.generations, t.tokens, t.period_seconds, t.reply_tokens, t.prompt_characters)
        is distinct from (p_generations, p_tokens, p_period_seconds, p_reply_tokens, p_prompt_characters)
$$;

-- quota_of: a person's limits (null: none), what they have used in the period that runs, and what is reserved of it. One row.
-- started_at and resets_at are null while no period runs: the next reservation begins one.
create or replace function rustygpt.quota_of(p_user uuid)
returns table (
  generation_limit bigint, generations_used bigint, generations_reserved bigint,
  token_limit bigint, tokens_used bigint, tokens_reserved bigint,
  is_default boolean, period_seconds double precision, started_at timestamptz, resets_at timestamptz
)
language sql stable as $$
  select l.generation_limit, n.generations_used, n.generations_reserved, l.token_limit, n.tokens_used, n.tokens_reserved,
         l.is_default, l.period_seconds, p.started_at, p.started_at + make_interval(secs => l.period_seconds)
  from (
    select case when o.user_id is null then t.generations else o.generations end as generation_limit,
           case when o.user_id is null then t.tokens else o.tokens end as token_limit,
           o.user_id is null as is_default, t.period_seconds
    from rustygpt.quota_terms t left join rustygpt.quota_overrides o on o.user_id = p_user
  ) l
  left join rustygpt.quota_periods p on p.user_id = p_user
    -- One that begins in a time to come was written before the clock was set back.
    and p.started_at > clock_timestamp() - make_interval(secs => l.period_seconds) and p.started_at <= clock_timestamp()
  cross join lateral (
    select coalesce(p.generations, 0) + coalesce(sum(r.generations) filter (where d.is_done), 0)::bigint as generations_used,
           coalesce(sum(r.generations) filter (where not d.is_done), 0)::bigint as generations_reserved,
           coalesce(p.tokens, 0) + coalesce(sum(r.tokens) filter (where d.is_done), 0)::bigint as tokens_used,
           coalesce(sum(r.tokens) filter (where not d.is_done), 0)::bigint as tokens_reserved
    from rustygpt.quota_reservations r
    cross join lateral (select r.is_settled or coalesce(r.expires_at <= clock_timestamp(), false) as is_done) d
    where r.user_id = p_user and r.period_started_at = p.started_at
  ) n
$$;

-- open_quota_period: the start of the period that runs for a person, begun now if none does; adds to it what has been settled since the
-- last call. Locks the person's quota_periods row until the end of the transaction: what is counted afterwards stays so.
create or replace function rustygpt.open_quota_period(p_user uuid) returns timestamptz
language plpgsql as $$
declare
  v_start timestamptz;
  v_seconds double precision := (select t.period_seconds from rustygpt.quota_terms t);
begin
  insert into rustygpt.quota_periods (user_id) values (p_user) on conflict do nothing;
  select p.started_at into v_start from rustygpt.quota_periods p where p.user_id = p_user for update;
  if v_start not between clock_timestamp() - make_interval(secs => v_seconds) and clock_timestamp() then
    update rustygpt.quota_periods p set started_at = clock_timestamp(), generations = 0, tokens = 0
    where p.user_id = p_user returning p.started_at into v_start;
  end if;
  with done as (
    -- Whoever settles one in this moment keeps it for the next time.
    delete from rustygpt.quota_reservations r where r.id in (
      select o.id from rustygpt.quota_reservations o
      where o.user_id = p_user and (o.is_settled or o.expires_at <= clock_timestamp()) for update skip locked)
    returning r.period_started_at, r.generations, r.tokens
  )
  update rustygpt.quota_periods p set generations = p.generations + n.generations, tokens = p.tokens + n.tokens
  from (select sum(d.generations) as generations, sum(d.tokens) as tokens from done d where d.period_started_at = v_start) n
  where p.user_id = p_user and n.generations is not null;
  return v_start;
end
$$;

-- in_words: a time from now for people, such as 40 minutes.
create or replace function rustygpt.in_words(p_seconds double precision) returns text
language sql immutable as $$
  select case
    when p_seconds < 90 then ceil(p_seconds) || ' seconds'
    when p_seconds < 5400 then ceil(p_seconds / 60) || ' minutes'
    when p_seconds < 129600 then ceil(p_seconds / 3600) || ' hours'
    else ceil(p_seconds / 86400) || ' days' end
$$;

-- require_quota: may p_user take one reply more, of about p_tokens? The caller holds the person's period.
-- Raises RG429 RGP.RATE_LIMITED under the profile quota-generations or quota-tokens, with the time until there is more.
create or replace function rustygpt.require_quota(p_user uuid, p_tokens bigint) returns void
language plpgsql stable as $$
declare
  v_quota record;
  v_reset double precision;
  v_free bigint;
begin
  select * into v_quota from rustygpt.quota_of(p_user);
  v_reset := extract(epoch from v_quota.resets_at - clock_timestamp());
  if v_quota.generations_used + v_quota.generations_reserved >= v_quota.generation_limit then
    perform rustygpt.fail_limited(
      case when v_quota.generation_limit = 0 then 'Your quota has no answers; an administrator sets it.' else
        format('Your quota of %s is used up. There will be more in %s.',
               case v_quota.generation_limit when 1 then '1 answer' else v_quota.generation_limit || ' answers' end, rustygpt.in_words(v_reset))
      end,
      'quota-generations', v_quota.generation_limit, 0, v_reset, v_reset);
  end if;
  v_free := v_quota.token_limit - v_quota.tokens_used - v_quota.tokens_reserved;
  if v_free < p_tokens then
    -- Answers that are being written may turn out shorter than what is reserved for them.
    perform rustygpt.fail_limited(
      format('This needs about %s tokens; of your quota of %s, %s are left%s. There will be more in %s.', p_tokens, v_quota.token_limit,
             greatest(0, v_free),
             case when v_quota.tokens_reserved > 0 then format(' beside %s for answers under way', v_quota.tokens_reserved) else '' end,
             rustygpt.in_words(v_reset)),
      'quota-tokens', v_quota.token_limit, greatest(0, v_free), v_reset,
      case when v_free + v_quota.tokens_reserved >= p_tokens then 10 else v_reset end);
  end if;
end
$$;

-- estimate_prompt: about how many tokens a model is given to write p_message: one for four characters of its ancestors, as far as
-- read_prompt goes.
create or replace function rustygpt.estimate_prompt(p_message uuid) returns bigint
language sql stable as $$
  with recursive path as (
    select p.parent_id, char_length(p.content) as characters
    from rustygpt.messages m join rustygpt.messages p on p.id = m.parent_id where m.id = p_message
    union all
    select p.parent_id, path.characters + char_length(p.content)
    from path join rustygpt.messages p on p.id = path.parent_id cross join rustygpt.quota_terms t
    where path.characters + char_length(p.content) <= t.prompt_characters
  )
  select ceil(coalesce(max(path.characters), 0) / 4.0)::bigint from path
$$;

-- reserve_reply: take a reply out of the quota of who asks for it, in the transaction that queues it; end_generation settles it.
-- Raises RG429 RGP.RATE_LIMITED. Locks quota_periods.
create or replace function rustygpt.reserve_reply(p_user uuid, p_message uuid) returns void
language plpgsql as $$
declare
  v_start timestamptz := rustygpt.open_quota_period(p_user);
  v_tokens bigint := (select t.reply_tokens from rustygpt.quota_terms t);
  v_said integer := (select char_length(m.content) from rustygpt.messages m where m.id = p_message);
begin
  -- Walking up a long thread costs 0.3 ms, and only a limit needs it now.
  if (select q.token_limit is not null from rustygpt.quota_of(p_user) q) then
    v_tokens := v_tokens + rustygpt.estimate_prompt(p_message) + ceil(v_said / 4.0)::bigint;
  end if;
  perform rustygpt.require_quota(p_user, v_tokens);
  insert into rustygpt.quota_reservations (user_id, period_started_at, message_id, tokens, prior_characters)
  values (p_user, v_start, p_message, v_tokens, v_said);
end
$$;

-- settle_reply: put what a reply has used in place of what was reserved for it. p_generation: as it is after its end.
-- p_prompt_tokens, p_completion_tokens: of this attempt, null where nobody counted: then a token for four characters. p_characters: of
-- the whole text. Nothing is used by a reply that never began, and by one that failed before its first word. Locks the reservation.
create or replace function rustygpt.settle_reply(
  p_generation rustygpt.generations, p_prompt_tokens integer, p_completion_tokens integer, p_characters integer
) returns void
language sql as $$
  update rustygpt.quota_reservations r
  set is_settled = true,
      generations = case when f.is_free then 0 else 1 end,
      tokens = case when f.is_free then 0 else
        coalesce(p_prompt_tokens, rustygpt.estimate_prompt(r.message_id) + ceil(r.prior_characters / 4.0)::bigint)
        + coalesce(p_completion_tokens, ceil(greatest(0, p_characters - r.prior_characters) / 4.0)::bigint) end
  from (
    select o.id, p_generation.started_at is null or (
      p_generation.state in ('error', 'interrupted', 'timeout') and p_completion_tokens is null
      and p_characters <= o.prior_characters) as is_free
    from rustygpt.quota_reservations o where o.message_id = p_generation.message_id and not o.is_settled
  ) f
  where r.id = f.id
$$;

-- reserve_quota: take one answer of about p_prompt_tokens and p_reply_tokens (null: the usual amount) out of p_actor's quota, for work
-- that has no reply of its own in a conversation. Settle it with settle_quota; what is not settled within p_seconds counts as it stands.
-- Returns the reservation. Raises RG429 RGP.RATE_LIMITED. Locks quota_periods.
create or replace function rustygpt_api.reserve_quota(
  p_actor uuid, p_prompt_tokens bigint, p_reply_tokens bigint, p_seconds double precision
) returns uuid
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_start timestamptz := open_quota_period(p_actor);
  v_tokens bigint := p_prompt_tokens + coalesce(p_reply_tokens, (select t.reply_tokens from quota_terms t));
  v_id uuid;
begin
  -- A model's first word waits for this commit, and a flush of the log is most of it: a server that crashes forgets at most half a second.
  perform set_config('synchronous_commit', 'off', true);
  perform require_quota(p_actor, v_tokens);
  insert into quota_reservations (user_id, period_started_at, tokens, expires_at)
  values (p_actor, v_start, v_tokens, clock_timestamp() + make_interval(secs => p_seconds))
  returning id into v_id;
  return v_id;
end
$$;

-- settle_quota: put what was used in place of a reservation of reserve_quota. p_tokens: prompt and answer; null leaves the estimate;
-- p_is_used: false where no model was asked, or failed before its first word: then nothing counts. The second call does nothing.
create or replace function rustygpt_api.settle_quota(p_reservation uuid, p_is_used boolean, p_tokens bigint) returns void
language sql security definer set search_path = rustygpt, pg_temp as $$
  select set_config('synchronous_commit', 'off', true);  -- as reserve_quota
  update quota_reservations r
  set is_settled = true, generations = case when p_is_used then 1 else 0 end,
      tokens = case when p_is_used then coalesce(p_tokens, r.tokens) else 0 end
  where r.id = p_reservation and r.message_id is null and not r.is_settled
$$;

-- read_quota: quota_of p_actor.
create or replace function rustygpt_api.read_quota(p_actor uuid)
returns table (
  generation_limit bigint, generations_used bigint, generations_reserved bigint,
  token_limit bigint, tokens_used bigint, tokens_reserved bigint,
  is_default boolean, period_seconds double precision, started_at timestamptz, resets_at timestamptz
)
language sql stable security definer set search_path = rustygpt, pg_temp as $$
  select * from quota_of(p_actor)
$$;

-- read_quota_of: quota_of p_user, for administrators. Raises RG403 RGP.RBAC.FORBIDDEN; RG404 RGP.NOT_FOUND.
create or replace function rustygpt_api.read_quota_of(p_actor uuid, p_user uuid)
returns table (
  generation_limit bigint, generations_used bigint, generations_reserved bigint,
  token_limit bigint, tokens_used bigint, tokens_reserved bigint,
  is_default boolean, period_seconds double precision, started_at timestamptz, resets_at timestamptz
)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
begin
  perform require_admin(p_actor);
  perform require_user(p_user);
  return query select * from quota_of(p_user);
end
$$;

-- require_user: raises RG404 RGP.NOT_FOUND when there is no such account.
create or replace function rustygpt.require_user(p_user uuid) returns void
language plpgsql stable as $$
begin
  if not exists (select from rustygpt.users u where u.id = p_user) then
    perform rustygpt.fail('RG404', 'RGP.NOT_FOUND', 'There is no such account.');
  end if;
end
$$;

-- set_quota: give p_user terms of their own; null is no limit, 0 is nothing at all. In force at once, on every process.
-- Raises RG403 RGP.RBAC.FORBIDDEN; RG404 RGP.NOT_FOUND. Locks the override.
create or replace function rustygpt_api.set_quota(p_actor uuid, p_user uuid, p_generations bigint, p_tokens bigint) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
begin
  perform require_admin(p_actor);
  perform require_user(p_user);
  insert into quota_overrides as o (user_id, generations, tokens) values (p_user, p_generations, p_tokens)
  on conflict (user_id) do update set generations = p_generations, tokens = p_tokens, updated_at = clock_timestamp();
  perform audit(p_actor, 'limits.quota_set', p_user::text, jsonb_build_object('generations', p_generations, 'tokens', p_tokens));
end
$$;

-- clear_quota: let the general terms hold for p_user again. Twice is once. Raises RG403 RGP.RBAC.FORBIDDEN; RG404 RGP.NOT_FOUND.
create or replace function rustygpt_api.clear_quota(p_actor uuid, p_user uuid) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
begin
  perform require_admin(p_actor);
  perform require_user(p_user);
  delete from quota_overrides o where o.user_id = p_user;
  if found then
    perform audit(p_actor, 'limits.quota_cleared', p_user::text, '{}');
  end if;
end
$$;

-- prune_quota_reservations: delete at most p_limit rows that count for nothing any more: done, and of a period that has ended.
create or replace function rustygpt.prune_quota_reservations(p_limit integer) returns integer
language plpgsql as $$
declare
  v_count integer;
begin
  delete from rustygpt.quota_reservations r where r.id in (
    select o.id from rustygpt.quota_reservations o cross join rustygpt.quota_terms t
    where (o.is_settled or o.expires_at <= clock_timestamp())
      and o.period_started_at < clock_timestamp() - make_interval(secs => t.period_seconds)
    limit p_limit for update of o skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
