-- sum_marks: a user's read marks in a conversation, added up over all its threads. Slow where there are many: see members.read_total.
create or replace function rustygpt.sum_marks(p_user uuid, p_conversation uuid) returns bigint
language plpgsql stable as $$
begin
  return (
    select coalesce(sum(r.ordinal), 0)
    from rustygpt.threads t
    join rustygpt.read_marks r on r.root_id = t.root_id and r.user_id = p_user
    where t.conversation_id = p_conversation);
end
$$;

-- unread_in_conversation: how many messages lie behind the user's read marks, over all threads. Each message raises last_seq and the
-- last ordinal of one thread, so last_seq is their sum, and the difference to the sum of the marks needs no look at any thread.
create or replace function rustygpt.unread_in_conversation(p_user uuid, p_conversation uuid) returns integer
language sql stable as $$
  select (c.last_seq - coalesce(m.read_total, rustygpt.sum_marks(p_user, p_conversation)))::integer
  from rustygpt.conversations c
  join rustygpt.members m on m.conversation_id = c.id and m.user_id = p_user
  where c.id = p_conversation
$$;

-- move_mark: put a member's read mark in a thread forward to p_ordinal, never back, and keep the sum of the member's marks true.
-- Returns whether it moved. Locks the membership; the caller has locked the thread before.
create or replace function rustygpt.move_mark(p_user uuid, p_conversation uuid, p_root uuid, p_ordinal integer) returns boolean
language plpgsql as $$
declare
  v_old integer;
begin
  perform from rustygpt.members m where m.conversation_id = p_conversation and m.user_id = p_user for no key update;
  v_old := coalesce((select r.ordinal from rustygpt.read_marks r where r.user_id = p_user and r.root_id = p_root), 0);
  if p_ordinal <= v_old then
    return false;
  end if;
  update rustygpt.members m
  set read_total = coalesce(m.read_total, rustygpt.sum_marks(p_user, p_conversation)) + p_ordinal - v_old
  where m.conversation_id = p_conversation and m.user_id = p_user;
  insert into rustygpt.read_marks (user_id, root_id, ordinal) values (p_user, p_root, p_ordinal)
  on conflict (user_id, root_id) do update set ordinal = excluded.ordinal;
  return true;
end
$$;

-- tell_mark: append unread.update, how far p_user has read a thread, to that user alone. p_unread: as it is at this position.
create or replace function rustygpt.tell_mark(p_user uuid, p_conversation uuid, p_root uuid, p_unread integer, p_mark integer)
returns bigint
language sql volatile as $$
  select rustygpt.append_event(p_conversation, p_user, 'unread.update', p_root, null, jsonb_build_object(
    'root_id', p_root, 'unread', p_unread, 'read_ordinal', p_mark))
$$;

-- mark_read: move the actor's watermark in a thread forward to p_ordinal, or to p_message's ordinal (one is given); never back.
-- Returns root_id, the unread count left, the mark and the position to announce (null when nothing changed).
-- Raises RG404 RGP.NOT_FOUND. Emits unread.update to the actor alone. Locks the thread against change (the count must be true at the
-- event's position), then the membership (nothing may be told after the actor's removal), then event_head.
create or replace function rustygpt_api.mark_read(p_actor uuid, p_root uuid, p_ordinal integer, p_message uuid)
returns table (root_id uuid, unread integer, read_ordinal integer, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_thread threads;
  v_mark integer := p_ordinal;
  v_moved boolean;
begin
  select t.* into v_thread from threads t where t.root_id = p_root for share;
  perform from members m where m.conversation_id = v_thread.conversation_id and m.user_id = p_actor for no key update;
  perform require_member(p_actor, v_thread.conversation_id, 'viewer');
  if p_message is not null then
    v_mark := rustygpt_api.ordinal_of(p_actor, p_root, p_message);
  end if;
  v_moved := move_mark(p_actor, v_thread.conversation_id, p_root, least(v_mark, v_thread.last_ordinal));
  v_mark := coalesce((select r.ordinal from read_marks r where r.user_id = p_actor and r.root_id = p_root), 0);
  return query select p_root, v_thread.last_ordinal - v_mark, v_mark,
    case when v_moved then tell_mark(p_actor, v_thread.conversation_id, p_root, v_thread.last_ordinal - v_mark, v_mark) end;
end
$$;
