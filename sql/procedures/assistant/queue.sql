-- The queue: replies that wait for a model. Bounded for everybody and for each person; who has the fewest running goes first.

-- seconds_per_start: how often a reply leaves the queue, in seconds, as it went lately: what the last 20 replies that ended by themselves
-- took, over the replies that run now. Null when none has ended yet.
create or replace function rustygpt.seconds_per_start() returns double precision
language sql stable as $$
  select avg(extract(epoch from r.finished_at - r.started_at))::double precision
         / greatest(1, (select count(*) from rustygpt.generations g where g.state = 'running'))
  from (
    select g.started_at, g.finished_at from rustygpt.generations g
    where g.state in ('done', 'length') order by g.finished_at desc limit 20
  ) r
$$;

-- queue_places: everybody's place in the queue, 1 is next: the order in which claim_generation would take them if nothing else happened.
-- A person's n-th waiting reply comes when n - 1 of theirs run beside those that run now.
create or replace function rustygpt.queue_places()
returns table (message_id uuid, conversation_id uuid, requested_by uuid, place bigint)
language sql stable as $$
  select q.message_id, q.conversation_id, q.requested_by, row_number() over (order by q.turn, q.queued_at, q.message_id)
  from (
    select g.message_id, g.conversation_id, g.requested_by, g.queued_at,
           (select count(*) from rustygpt.generations r where r.requested_by = g.requested_by and r.state = 'running')
           + row_number() over (partition by g.requested_by order by g.queued_at, g.message_id) as turn
    from rustygpt.generations g where g.state = 'queued'
  ) q
$$;

-- fail_for_now: like fail, with how many seconds the client should wait (1 to 120; null, because nothing is known, is 5).
create or replace function rustygpt.fail_for_now(p_sqlstate text, p_code text, p_message text, p_seconds double precision) returns void
language plpgsql stable as $$
begin
  raise exception using errcode = p_sqlstate, message = p_message, detail = p_code,
    hint = least(120, greatest(1, ceil(coalesce(p_seconds, 5))))::integer::text;
end
$$;

-- fail_limited: RG429 RGP.RATE_LIMITED with what the headers of the answer tell: under which profile, how much it allows, how much is left,
-- in how many seconds all of it is there again, and after how many it is worth trying (null, because nothing is known, is 5). All but the
-- last are in the name of a constraint, which such an error has for nothing else.
create or replace function rustygpt.fail_limited(
  p_message text, p_profile text, p_limit bigint, p_remaining bigint, p_reset_seconds double precision, p_retry_seconds double precision
) returns void
language plpgsql stable as $$
begin
  raise exception using errcode = 'RG429', message = p_message, detail = 'RGP.RATE_LIMITED',
    hint = greatest(1, ceil(coalesce(p_retry_seconds, 5)))::integer::text,
    constraint = jsonb_build_object('profile', p_profile, 'limit', p_limit, 'remaining', p_remaining,
                                    'reset_seconds', greatest(1, ceil(coalesce(p_reset_seconds, 5)))::integer)::text;
end
$$;

-- require_queue_place: may one more reply be queued for p_actor? p_max_queued, p_max_queued_per_user: null does not bound.
-- Raises RG429 RGP.RATE_LIMITED when the actor has too many waiting, RG503 RGP.UNAVAILABLE when the queue is full; both say when to try
-- again. Locks the queue until the end of the transaction: counting and inserting must not be torn apart, on whatever process. The
-- caller holds the conversation, and perhaps its thread and generation; event_head is locked later.
create or replace function rustygpt.require_queue_place(p_actor uuid, p_max_queued integer, p_max_queued_per_user integer) returns void
language plpgsql as $$
declare
  v_all bigint;
  v_own bigint;
  v_seconds double precision;
begin
  perform pg_advisory_xact_lock(hashtext('rustygpt'), hashtext('queue'));
  select count(*), count(*) filter (where g.requested_by = p_actor) into v_all, v_own
  from rustygpt.generations g where g.state = 'queued';
  if v_own >= p_max_queued_per_user then
    v_seconds := least(120, rustygpt.seconds_per_start()
      * (select min(p.place) from rustygpt.queue_places() p where p.requested_by = p_actor));
    perform rustygpt.fail_limited(
      format('%s of your questions wait for an answer already.', v_own), 'queue', p_max_queued_per_user, 0, v_seconds, v_seconds);
  elsif v_all >= p_max_queued then
    perform rustygpt.fail_for_now('RG503', 'RGP.UNAVAILABLE', 'Too many questions wait for an answer. Nothing was stored; try again later.',
      rustygpt.seconds_per_start());
  end if;
end
$$;

-- read_queue: the whole queue in its order: messages, their conversations, and in how many seconds each will begin, as far as one can
-- know (null: not at all). One row.
-- p_every_seconds: null only reads. Else the caller will tell what it reads, and no other did so in the last p_every_seconds: if one
-- did, the arrays are empty and wait_seconds says when to ask again. Locks queue_board when it tells.
create or replace function rustygpt_api.read_queue(p_every_seconds double precision)
returns table (wait_seconds double precision, messages uuid[], conversations uuid[], estimates integer[])
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_seconds double precision;
begin
  if p_every_seconds is not null and exists (select from generations g where g.state = 'queued') then
    update queue_board b set told_at = clock_timestamp()
    -- A time to come was written before the clock was set back.
    where b.told_at not between clock_timestamp() - make_interval(secs => p_every_seconds) and clock_timestamp();
    if not found then
      return query
        select greatest(0.001, p_every_seconds - extract(epoch from clock_timestamp() - b.told_at)::double precision),
               '{}'::uuid[], '{}'::uuid[], '{}'::integer[]
        from queue_board b;
      return;
    end if;
  end if;
  v_seconds := seconds_per_start();
  return query
    select 0::double precision, coalesce(array_agg(p.message_id order by p.place), '{}'),
           coalesce(array_agg(p.conversation_id order by p.place), '{}'),
           coalesce(array_agg(
             case when v_seconds is not null then ceil(least(v_seconds * p.place, 86400))::integer end order by p.place), '{}')
    from queue_places() p;
end
$$;
