-- require_member: the one gate. Whatever a person does with a conversation passes here.
-- p_least_role: viewer < member < admin < owner. Returns the actor's role.
-- Raises RG404 RGP.NOT_FOUND when the conversation is missing, archived or not the actor's (all alike);
-- RG403 RGP.RBAC.FORBIDDEN when the role is too low.
create or replace function rustygpt.require_member(p_actor uuid, p_conversation uuid, p_least_role text) returns text
language plpgsql stable as $$
declare
  v_role text;
begin
  select m.role into v_role
  from rustygpt.members m
  join rustygpt.conversations c on c.id = m.conversation_id
  where m.conversation_id = p_conversation and m.user_id = p_actor and c.archived_at is null;
  if v_role is null then
    perform rustygpt.fail('RG404', 'RGP.NOT_FOUND', 'There is no such conversation, or you are not in it.');
  end if;
  if rustygpt.role_rank(v_role) < rustygpt.role_rank(p_least_role) then
    perform rustygpt.fail('RG403', 'RGP.RBAC.FORBIDDEN', format('This needs the role %s; yours is %s.', p_least_role, v_role));
  end if;
  return v_role;
end
$$;

-- role_rank: the order of roles within a conversation, 1 (viewer) to 4 (owner).
create or replace function rustygpt.role_rank(p_role text) returns integer
language sql immutable as $$
  select array_position(array['viewer', 'member', 'admin', 'owner'], p_role)
$$;

-- recall_answer: the answer given earlier for a client's key, or null when the request is new (the key is then taken).
-- p_key: null when the client gave none. p_fingerprint: a digest of what is asked.
-- Raises RG409 RGP.CONFLICT when the key was used for something else. Locks the key until the end of the transaction.
create or replace function rustygpt.recall_answer(p_actor uuid, p_scope text, p_key text, p_fingerprint text) returns jsonb
language plpgsql as $$
declare
  v_known rustygpt.idempotency_keys;
begin
  if p_key is null then
    return null;
  end if;
  insert into rustygpt.idempotency_keys (user_id, scope, key, fingerprint)
  values (p_actor, p_scope, p_key, p_fingerprint)
  on conflict do nothing;
  if found then
    return null;
  end if;
  select * into v_known from rustygpt.idempotency_keys k where k.user_id = p_actor and k.scope = p_scope and k.key = p_key;
  if v_known.fingerprint is distinct from p_fingerprint then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'This idempotency key was used for a different request.');
  end if;
  return v_known.answer;
end
$$;

-- find_answer: as recall_answer, without taking the key: null when nothing was answered for it yet.
-- Raises RG409 RGP.CONFLICT when the key was used for something else.
create or replace function rustygpt.find_answer(p_actor uuid, p_scope text, p_key text, p_fingerprint text) returns jsonb
language plpgsql stable as $$
declare
  v_known rustygpt.idempotency_keys;
begin
  select * into v_known from rustygpt.idempotency_keys k where k.user_id = p_actor and k.scope = p_scope and k.key = p_key;
  if v_known.fingerprint <> p_fingerprint then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'This idempotency key was used for a different request.');
  end if;
  return v_known.answer;
end
$$;

-- keep_answer: store what was answered for a client's key; a null key stores nothing.
create or replace function rustygpt.keep_answer(p_actor uuid, p_scope text, p_key text, p_answer jsonb) returns void
language sql as $$
  update rustygpt.idempotency_keys set answer = p_answer
  where user_id = p_actor and scope = p_scope and key = p_key
$$;

-- cursor_now: where the log ends in the caller's snapshot, as the pair that clients resume from.
create or replace function rustygpt.cursor_now() returns text
language sql stable as $$
  select h.epoch || '-' || h.position from rustygpt.event_head h
$$;
