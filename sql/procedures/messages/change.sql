-- Changing what was said: edit, delete, restore. Nothing is lost: a deleted message keeps its row and its place.

-- lock_message: the message, with its conversation locked, so that changes of one message come in one order. Locks the conversation.
create or replace function rustygpt.lock_message(p_message uuid) returns rustygpt.messages
language plpgsql as $$
declare
  v_message rustygpt.messages;
begin
  perform from rustygpt.conversations c
  where c.id = (select m.conversation_id from rustygpt.messages m where m.id = p_message) for no key update;
  select m.* into v_message from rustygpt.messages m where m.id = p_message;
  return v_message;
end
$$;

-- edit_message: say something else in p_actor's own message. p_content: 1 to 200 000 characters, not blank.
-- Returns the answer of POST …/edit and the position to announce, null when nothing changed.
-- Raises RG404 RGP.NOT_FOUND; RG403 RGP.RBAC.FORBIDDEN for viewers, others' messages and the assistant's: nobody speaks as it;
-- RG409 RGP.CONFLICT for a deleted one; RG429 RGP.RATE_LIMITED as posting. Emits message.edited.
-- Locks conversation, limit_states, event_head.
create or replace function rustygpt_api.edit_message(p_actor uuid, p_message uuid, p_content text)
returns table (answer jsonb, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_message messages := lock_message(p_message);
  v_position bigint;
begin
  perform require_member(p_actor, v_message.conversation_id, 'member');
  if v_message.role <> 'user' then
    perform fail('RG403', 'RGP.RBAC.FORBIDDEN', 'Nobody speaks as the assistant: its replies cannot be edited.');
  elsif v_message.author_id <> p_actor then
    perform fail('RG403', 'RGP.RBAC.FORBIDDEN', 'Only its author may edit a message.');
  elsif v_message.deleted_at is not null then
    perform fail('RG409', 'RGP.CONFLICT', 'This message was deleted.');
  end if;
  if v_message.content <> p_content then
    perform limit_posting(p_actor, v_message.conversation_id);
    update messages m set content = p_content, edited_at = clock_timestamp() where m.id = p_message returning m.* into v_message;
    v_position := append_event(v_message.conversation_id, null, 'message.edited', v_message.root_id, p_message, jsonb_build_object(
      'message_id', p_message, 'root_id', v_message.root_id, 'content', v_message.content,
      'edited_at', rfc3339(v_message.edited_at)));
  end if;
  return query select jsonb_build_object(
    'message_id', p_message, 'root_id', v_message.root_id, 'conversation_id', v_message.conversation_id,
    'content', v_message.content, 'edited_at', rfc3339(v_message.edited_at)), v_position;
end
$$;

-- note_office: put into the audit log what p_actor does, by right of a role, to a message that somebody else wrote.
create or replace function rustygpt.note_office(p_actor uuid, p_action text, p_message rustygpt.messages) returns void
language plpgsql as $$
begin
  if p_message.author_id <> p_actor then
    perform rustygpt.audit(p_actor, p_action, p_message.id::text,
      jsonb_build_object('conversation_id', p_message.conversation_id, 'author_id', p_message.author_id));
  end if;
end
$$;

-- chunks_of: how many chunks a reply has, 0 for what a person wrote: what is told of a deletion says by it which text is meant, for a client
-- that is told twice and has read on since.
create or replace function rustygpt.chunks_of(p_message uuid) returns integer
language sql stable as $$
  select coalesce((select g.next_idx from rustygpt.generations g where g.message_id = p_message), 0)
$$;

-- delete_message: take back one's own message, or as an owner or admin of the conversation anybody's, replies included. Twice is once.
-- Returns the answer of POST …/delete and the position to announce, null when nothing changed.
-- Raises RG404 RGP.NOT_FOUND; RG403 RGP.RBAC.FORBIDDEN for viewers and others' messages; RG409 RGP.CONFLICT for a reply that is being
-- written; RG429 RGP.RATE_LIMITED as posting. Emits message.deleted. Locks conversation, limit_states, event_head.
create or replace function rustygpt_api.delete_message(p_actor uuid, p_message uuid) returns table (answer jsonb, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_message messages := lock_message(p_message);
  v_role text := require_member(p_actor, v_message.conversation_id, 'member');
  v_position bigint;
begin
  if v_message.author_id is distinct from p_actor and role_rank(v_role) < role_rank('admin') then
    perform fail('RG403', 'RGP.RBAC.FORBIDDEN', 'Only its author, and owners and admins of the conversation, may delete a message.');
  elsif exists (select from generations g where g.message_id = p_message and g.state in ('queued', 'running')) then
    perform fail('RG409', 'RGP.CONFLICT', 'This reply is still being written. Stop it first.');
  end if;
  if v_message.deleted_at is null then
    perform limit_posting(p_actor, v_message.conversation_id);
    update messages m set deleted_at = clock_timestamp(), deleted_by = p_actor where m.id = p_message returning m.* into v_message;
    perform note_office(p_actor, 'message.deleted', v_message);
    v_position := append_event(v_message.conversation_id, null, 'message.deleted', v_message.root_id, p_message, jsonb_build_object(
      'message_id', p_message, 'root_id', v_message.root_id, 'deleted_at', rfc3339(v_message.deleted_at),
      'deleted_by', person_json(p_actor), 'next_idx', chunks_of(p_message)));
  end if;
  return query select jsonb_build_object(
    'message_id', p_message, 'root_id', v_message.root_id, 'conversation_id', v_message.conversation_id,
    'deleted_at', rfc3339(v_message.deleted_at), 'deleted_by', person_json(v_message.deleted_by)), v_position;
end
$$;

-- restore_message: undo a deletion: for who deleted it, and for owners and admins of the conversation. Twice is once.
-- Returns the answer of POST …/restore and the position to announce, null when nothing changed.
-- Raises RG404 RGP.NOT_FOUND; RG403 RGP.RBAC.FORBIDDEN for viewers and what others deleted; RG429 RGP.RATE_LIMITED as posting.
-- Emits message.restored. Locks conversation, limit_states, event_head.
create or replace function rustygpt_api.restore_message(p_actor uuid, p_message uuid) returns table (answer jsonb, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_message messages := lock_message(p_message);
  v_role text := require_member(p_actor, v_message.conversation_id, 'member');
  v_position bigint;
begin
  if coalesce(v_message.deleted_by, v_message.author_id) is distinct from p_actor and role_rank(v_role) < role_rank('admin') then
    perform fail('RG403', 'RGP.RBAC.FORBIDDEN', 'Only who deleted it, and owners and admins of the conversation, may restore a message.');
  end if;
  if v_message.deleted_at is not null then
    perform limit_posting(p_actor, v_message.conversation_id);
    update messages m set deleted_at = null, deleted_by = null where m.id = p_message returning m.* into v_message;
    perform note_office(p_actor, 'message.restored', v_message);
    v_position := append_event(v_message.conversation_id, null, 'message.restored', v_message.root_id, p_message, jsonb_build_object(
      'message_id', p_message, 'root_id', v_message.root_id, 'content', v_message.content, 'next_idx', chunks_of(p_message)));
  end if;
  return query select jsonb_build_object(
    'message_id', p_message, 'root_id', v_message.root_id, 'conversation_id', v_message.conversation_id,
    'content', v_message.content), v_position;
end
$$;
