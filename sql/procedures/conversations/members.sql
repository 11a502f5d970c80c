-- person_json: what members may know of each other in events.
create or replace function rustygpt.person_json(p_user uuid) returns jsonb
language sql stable as $$
  select jsonb_build_object('id', u.id, 'display_name', u.display_name) from rustygpt.users u where u.id = p_user
$$;

-- member_json: a member as in the list of participants.
create or replace function rustygpt.member_json(p_conversation uuid, p_user uuid) returns jsonb
language sql stable as $$
  select jsonb_build_object('user_id', m.user_id, 'email', u.email, 'display_name', u.display_name, 'role', m.role,
                            'joined_at', rustygpt.rfc3339(m.joined_at))
  from rustygpt.members m join rustygpt.users u on u.id = m.user_id
  where m.conversation_id = p_conversation and m.user_id = p_user
$$;

-- tell_membership: append membership.changed. p_action: added, removed or role_updated. Returns its position.
create or replace function rustygpt.tell_membership(p_conversation uuid, p_user uuid, p_role text, p_action text) returns bigint
language sql volatile as $$
  select rustygpt.append_event(p_conversation, null, 'membership.changed', null, null,
    jsonb_build_object('user_id', p_user, 'role', p_role, 'action', p_action, 'user', rustygpt.person_json(p_user),
      'member_count', c.member_count, 'assistant_mode', rustygpt.effective_mode(c.assistant_mode, c.member_count)))
  from rustygpt.conversations c where c.id = p_conversation
$$;

-- add_member: insert a member, open the span of positions that they may see, tell everybody. Returns the event's position.
-- What was said before counts as read. Emits membership.changed. Locks the conversation, then event_head.
create or replace function rustygpt.add_member(p_conversation uuid, p_user uuid, p_role text) returns bigint
language plpgsql as $$
declare
  v_position bigint;
begin
  insert into rustygpt.members (conversation_id, user_id, role, read_total)
  select p_conversation, p_user, p_role, c.last_seq from rustygpt.conversations c where c.id = p_conversation for no key update;
  update rustygpt.conversations set member_count = member_count + 1 where id = p_conversation;
  insert into rustygpt.read_marks (user_id, root_id, ordinal)
  select p_user, t.root_id, t.last_ordinal from rustygpt.threads t where t.conversation_id = p_conversation
  on conflict (user_id, root_id) do update set ordinal = greatest(read_marks.ordinal, excluded.ordinal);
  v_position := rustygpt.tell_membership(p_conversation, p_user, p_role, 'added');
  insert into rustygpt.membership_spans (conversation_id, user_id, from_position) values (p_conversation, p_user, v_position);
  return v_position;
end
$$;

-- list_participants: members by joining time. p_after_at, p_after_id: the last item of the page before. Raises RG404.
create or replace function rustygpt_api.list_participants(
  p_actor uuid, p_conversation uuid, p_after_at timestamptz, p_after_id uuid, p_limit integer
) returns table (user_id uuid, joined_at timestamptz, participant jsonb)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
begin
  perform require_member(p_actor, p_conversation, 'viewer');
  return query
    select m.user_id, m.joined_at, member_json(p_conversation, m.user_id)
    from members m
    where m.conversation_id = p_conversation and (p_after_at is null or (m.joined_at, m.user_id) > (p_after_at, p_after_id))
    order by m.joined_at, m.user_id limit p_limit;
end
$$;

-- add_participant: bring somebody in, by id or by e-mail address (exactly one is given).
-- p_role: viewer, member, admin or owner; only owners make owners. p_key: idempotency key or null.
-- Returns the participant and the position to announce (null when the answer is an earlier one).
-- Raises RG404 RGP.NOT_FOUND (conversation or person), RG403 RGP.RBAC.FORBIDDEN, RG409 RGP.CONFLICT (is a member).
-- Emits membership.changed.
create or replace function rustygpt_api.add_participant(
  p_actor uuid, p_conversation uuid, p_user uuid, p_email text, p_role text, p_key text
) returns table (participant jsonb, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_user uuid;
  v_answer jsonb;
  v_position bigint;
begin
  v_answer := recall_answer(p_actor, 'participant', p_key,
    md5(jsonb_build_array(p_conversation, p_user, p_email, p_role)::text));
  if v_answer is not null then
    return query select v_answer, null::bigint;
    return;
  end if;
  perform from conversations c where c.id = p_conversation for no key update;
  perform require_role_for(p_actor, p_conversation, p_role);
  select u.id into v_user from users u
  where u.status = 'active' and (u.id = p_user or (p_user is null and u.email_key = email_key(p_email)));
  if v_user is null then
    perform fail('RG404', 'RGP.NOT_FOUND', 'Nobody here has this address or id.');
  end if;
  if exists (select from members m where m.conversation_id = p_conversation and m.user_id = v_user) then
    perform fail('RG409', 'RGP.CONFLICT', 'They are already in this conversation.');
  end if;
  v_position := add_member(p_conversation, v_user, p_role);
  v_answer := member_json(p_conversation, v_user);
  perform keep_answer(p_actor, 'participant', p_key, v_answer);
  return query select v_answer, v_position;
end
$$;

-- require_role_for: may the actor give or take this role? Admins manage viewers, members and admins; owners manage everybody.
create or replace function rustygpt.require_role_for(p_actor uuid, p_conversation uuid, p_role text) returns void
language sql as $$
  select rustygpt.require_member(p_actor, p_conversation, case when p_role = 'owner' then 'owner' else 'admin' end)
$$;

-- require_another_owner: a conversation keeps at least one. Raises RG409 RGP.CONFLICT.
create or replace function rustygpt.require_another_owner(p_conversation uuid, p_user uuid) returns void
language plpgsql stable as $$
begin
  if not exists (
    select from rustygpt.members m
    where m.conversation_id = p_conversation and m.role = 'owner' and m.user_id <> p_user
  ) then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'A conversation keeps at least one owner.');
  end if;
end
$$;

-- update_participant: give a member another role. Returns the participant and the position to announce.
-- Raises RG404, RG403 RGP.RBAC.FORBIDDEN, RG409 RGP.CONFLICT (the last owner). Emits membership.changed.
create or replace function rustygpt_api.update_participant(p_actor uuid, p_conversation uuid, p_user uuid, p_role text)
returns table (participant jsonb, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_old text;
begin
  perform from conversations c where c.id = p_conversation for no key update;
  perform require_role_for(p_actor, p_conversation, p_role);
  select m.role into v_old from members m where m.conversation_id = p_conversation and m.user_id = p_user;
  if v_old is null then
    perform fail('RG404', 'RGP.NOT_FOUND', 'They are not in this conversation.');
  end if;
  perform require_role_for(p_actor, p_conversation, v_old);
  if v_old = 'owner' and p_role <> 'owner' then
    perform require_another_owner(p_conversation, p_user);
  end if;
  update members m set role = p_role where m.conversation_id = p_conversation and m.user_id = p_user;
  return query select member_json(p_conversation, p_user), tell_membership(p_conversation, p_user, p_role, 'role_updated');
end
$$;

-- remove_participant: take a member out; anybody may leave by themselves. Returns the position to announce.
-- Raises RG404, RG403 RGP.RBAC.FORBIDDEN, RG409 RGP.CONFLICT (the last owner). Emits membership.changed, the last event that the
-- removed member's streams carry of this conversation.
create or replace function rustygpt_api.remove_participant(p_actor uuid, p_conversation uuid, p_user uuid) returns bigint
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_role text;
  v_position bigint;
begin
  perform from conversations c where c.id = p_conversation for no key update;
  perform require_member(p_actor, p_conversation, 'viewer');
  select m.role into v_role from members m where m.conversation_id = p_conversation and m.user_id = p_user;
  if v_role is null then
    perform fail('RG404', 'RGP.NOT_FOUND', 'They are not in this conversation.');
  end if;
  if p_user <> p_actor then
    perform require_role_for(p_actor, p_conversation, v_role);
  end if;
  if v_role = 'owner' then
    perform require_another_owner(p_conversation, p_user);
  end if;
  delete from members m where m.conversation_id = p_conversation and m.user_id = p_user;
  if p_user <> p_actor then
    insert into removals (conversation_id, user_id, removed_at) values (p_conversation, p_user, clock_timestamp())
    on conflict (conversation_id, user_id) do update set removed_at = excluded.removed_at;
  end if;
  update conversations c set member_count = c.member_count - 1 where c.id = p_conversation;
  v_position := tell_membership(p_conversation, p_user, v_role, 'removed');
  update membership_spans s set to_position = v_position
  where s.conversation_id = p_conversation and s.user_id = p_user and s.to_position is null;
  return v_position;
end
$$;
