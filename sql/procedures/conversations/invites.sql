-- invite_json: an invite as owners and admins see it; never its token.
create or replace function rustygpt.invite_json(p_invite rustygpt.invites) returns jsonb
language sql stable as $$
  select jsonb_build_object(
    'id', p_invite.id, 'conversation_id', p_invite.conversation_id, 'role', p_invite.role, 'email', p_invite.email,
    'max_uses', p_invite.max_uses, 'uses', p_invite.uses, 'created_by', rustygpt.person_json(p_invite.created_by),
    'created_at', rustygpt.rfc3339(p_invite.created_at), 'expires_at', rustygpt.rfc3339(p_invite.expires_at))
$$;

-- is_invite_standing: whether neither anybody has revoked it nor its maker has lost the right to give that role.
create or replace function rustygpt.is_invite_standing(p_invite rustygpt.invites) returns boolean
language sql stable as $$
  select p_invite.revoked_at is null and exists (
    select from rustygpt.members m join rustygpt.users u on u.id = m.user_id
    where m.conversation_id = p_invite.conversation_id and m.user_id = p_invite.created_by and u.status = 'active'
      and rustygpt.role_rank(m.role) >= rustygpt.role_rank(case when p_invite.role = 'owner' then 'owner' else 'admin' end)
  )
$$;

-- is_invite_live: whether somebody can still join by it at the instant p_at.
create or replace function rustygpt.is_invite_live(p_invite rustygpt.invites, p_at timestamptz) returns boolean
language sql stable as $$
  select p_invite.uses < p_invite.max_uses and p_invite.expires_at > p_at and rustygpt.is_invite_standing(p_invite)
$$;

-- require_usable_invite: may this person join by it? p_user: null for who has no account yet. p_email_key: their address.
-- Raises RG404 RGP.NOT_FOUND when there is none (p_invite is null); RG403 RGP.RBAC.FORBIDDEN when it is for another address, or they
-- were removed since it was made; RG409 RGP.CONFLICT when it was revoked, used up or has expired.
create or replace function rustygpt.require_usable_invite(p_invite rustygpt.invites, p_user uuid, p_email_key text) returns void
language plpgsql as $$
begin
  if p_invite.id is null then
    perform rustygpt.fail('RG404', 'RGP.NOT_FOUND', 'There is no such invite.');
  elsif p_invite.email_key <> p_email_key then
    perform rustygpt.fail('RG403', 'RGP.RBAC.FORBIDDEN', 'This invite is for another e-mail address.');
  elsif exists (
    select from rustygpt.removals r
    where r.conversation_id = p_invite.conversation_id and r.user_id = p_user and r.removed_at >= p_invite.created_at
  ) then
    perform rustygpt.fail('RG403', 'RGP.RBAC.FORBIDDEN', 'You were removed from this conversation. Ask for a new invite.');
  elsif not rustygpt.is_invite_standing(p_invite) then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'This invite was revoked.');
  elsif p_invite.uses >= p_invite.max_uses then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'This invite has been used.');
  elsif p_invite.expires_at <= clock_timestamp() then
    perform rustygpt.fail('RG409', 'RGP.CONFLICT', 'This invite has expired.');
  end if;
end
$$;

-- is_invite_usable: could a newcomer of this address join by it? It stays so until the end of the transaction.
-- Locks the conversation, then the invite.
create or replace function rustygpt.is_invite_usable(p_token_hash bytea, p_email_key text) returns boolean
language plpgsql as $$
declare
  v_invite rustygpt.invites;
begin
  perform from rustygpt.conversations c
  where c.id = (select i.conversation_id from rustygpt.invites i where i.token_hash = p_token_hash) and c.archived_at is null
  for no key update;
  if found then
    select i.* into v_invite from rustygpt.invites i where i.token_hash = p_token_hash for no key update;
  end if;
  perform rustygpt.require_usable_invite(v_invite, null, p_email_key);
  return true;
exception
  when sqlstate 'RG404' or sqlstate 'RG403' or sqlstate 'RG409' then
    return false;  -- and nothing is locked any more
end
$$;

-- use_invite: make somebody a member, unless they are one; then no use is counted and v_position is null.
-- p_email_key: their address. Raises as require_usable_invite; RG404 RGP.NOT_FOUND also when the conversation is archived.
-- Emits membership.changed. Locks the conversation, so that the last use is given once; then the invite.
create or replace function rustygpt.use_invite(
  p_user uuid, p_email_key text, p_token_hash bytea, out v_conversation uuid, out v_position bigint
)
language plpgsql as $$
declare
  v_invite rustygpt.invites;
begin
  select i.conversation_id into v_conversation from rustygpt.invites i where i.token_hash = p_token_hash;
  perform from rustygpt.conversations c where c.id = v_conversation and c.archived_at is null for no key update;
  if not found then
    perform rustygpt.require_usable_invite(null, p_user, p_email_key);
  elsif exists (select from rustygpt.members m where m.conversation_id = v_conversation and m.user_id = p_user) then
    return;
  end if;
  select i.* into v_invite from rustygpt.invites i where i.token_hash = p_token_hash for no key update;
  perform rustygpt.require_usable_invite(v_invite, p_user, p_email_key);
  update rustygpt.invites i set uses = i.uses + 1 where i.id = v_invite.id;
  v_position := rustygpt.add_member(v_conversation, p_user, v_invite.role);
end
$$;

-- create_invite: make a link. p_token_hash: SHA-256 of its token. p_email: who alone may use it, or null. p_role: owners alone make
-- owners. p_max_uses: 1 to 1000, 1 with an address. p_ttl_seconds: how long it is good. p_key: idempotency key or null.
-- Returns the invite. Raises RG404 RGP.NOT_FOUND, RG403 RGP.RBAC.FORBIDDEN; RG409 RGP.CONFLICT at p_max_invites live ones, and for a
-- repeated p_key: a token is shown once, so there is no same answer to give. Locks the conversation.
create or replace function rustygpt_api.create_invite(
  p_actor uuid, p_conversation uuid, p_token_hash bytea, p_email text, p_role text, p_max_uses integer, p_ttl_seconds integer,
  p_max_invites integer, p_key text
) returns jsonb
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_invite invites;
begin
  if recall_answer(p_actor, 'invite', p_key,
    md5(jsonb_build_array(p_conversation, p_email, p_role, p_max_uses, p_ttl_seconds)::text)) is not null then
    perform fail('RG409', 'RGP.CONFLICT', 'This request made an invite already, which is shown only once. Revoke that one and ask anew.');
  end if;
  perform from conversations c where c.id = p_conversation for no key update;
  perform require_role_for(p_actor, p_conversation, p_role);
  if (select count(*) from invites i where i.conversation_id = p_conversation and is_invite_live(i, clock_timestamp())) >= p_max_invites then
    perform fail('RG409', 'RGP.CONFLICT', format('This conversation has %s open invites; revoke one first.', p_max_invites));
  end if;
  insert into invites (conversation_id, created_by, token_hash, role, email, email_key, max_uses, expires_at)
  values (p_conversation, p_actor, p_token_hash, p_role, p_email, email_key(p_email), p_max_uses,
          clock_timestamp() + make_interval(secs => p_ttl_seconds))
  returning * into v_invite;
  perform keep_answer(p_actor, 'invite', p_key, 'true');
  return invite_json(v_invite);
end
$$;

-- list_invites: those by which somebody can still join, newest first. For owners and admins. p_before: the last id of the page before.
-- Raises RG404 RGP.NOT_FOUND, RG403 RGP.RBAC.FORBIDDEN.
create or replace function rustygpt_api.list_invites(p_actor uuid, p_conversation uuid, p_before uuid, p_limit integer)
returns table (id uuid, invite jsonb)
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
begin
  perform require_member(p_actor, p_conversation, 'admin');
  return query
    select i.id, invite_json(i)
    from invites i
    where i.conversation_id = p_conversation and is_invite_live(i, now()) and (p_before is null or i.id < p_before)
    order by i.id desc
    limit p_limit;
end
$$;

-- revoke_invite: let nobody join by it any more; twice is once. For owners and admins of its conversation.
-- Raises RG404 RGP.NOT_FOUND, RG403 RGP.RBAC.FORBIDDEN. Locks the invite.
create or replace function rustygpt_api.revoke_invite(p_actor uuid, p_invite uuid) returns void
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_conversation uuid;
begin
  select i.conversation_id into v_conversation from invites i where i.id = p_invite;
  perform require_member(p_actor, v_conversation, 'admin');
  update invites i set revoked_at = clock_timestamp() where i.id = p_invite and i.revoked_at is null;
end
$$;

-- accept_invite: join by a link. Returns the conversation as the actor sees it, whether they joined just now, and the position to
-- announce (null for who was a member already). Raises as use_invite.
create or replace function rustygpt_api.accept_invite(p_actor uuid, p_token_hash bytea)
returns table (conversation jsonb, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
declare
  v_conversation uuid;
  v_position bigint;
begin
  select x.v_conversation, x.v_position into v_conversation, v_position
  from users u, use_invite(u.id, u.email_key, p_token_hash) x
  where u.id = p_actor;
  return query select conversation_json(v_conversation, p_actor), v_position;  -- in a snapshot of its own, which shows the new member
end
$$;

-- check_invite: could somebody of this address, who has no account yet, join by it? So that no password is hashed in vain.
-- Raises as require_usable_invite. Nothing is written or promised.
create or replace function rustygpt_api.check_invite(p_token_hash bytea, p_email text) returns void
language plpgsql stable security definer set search_path = rustygpt, pg_temp as $$
declare
  v_invite invites;
begin
  select i.* into v_invite
  from invites i join conversations c on c.id = i.conversation_id
  where i.token_hash = p_token_hash and c.archived_at is null;
  perform require_usable_invite(v_invite, null, email_key(p_email));
end
$$;

-- register_with_invite: add an account as create_user does, and make it a member, both or neither. Arguments as there, and the SHA-256
-- of the invite's token. Never an administrator of the server: who invites is none. Returns the account and the position to announce.
-- Raises as create_user and use_invite.
create or replace function rustygpt_api.register_with_invite(
  p_email text, p_display_name text, p_password_hash text, p_status text, p_token_hash bytea
) returns table (id uuid, email text, display_name text, role text, status text, created_at timestamptz, "position" bigint)
language plpgsql security definer set search_path = rustygpt, pg_temp as $$
#variable_conflict use_column
declare
  v_user users;
begin
  v_user := insert_user(p_email, p_display_name, p_password_hash, 'user', p_status);
  return query
    select v_user.id, v_user.email, v_user.display_name, v_user.role, v_user.status, v_user.created_at, x.v_position
    from use_invite(v_user.id, v_user.email_key, p_token_hash) x;
end
$$;

-- prune_invites: forget at most p_limit that expired 30 days ago. Returns how many.
create or replace function rustygpt.prune_invites(p_limit integer) returns integer
language plpgsql as $$
declare
  v_count integer;
begin
  delete from rustygpt.invites i
  where i.id in (
    select o.id from rustygpt.invites o where o.expires_at < clock_timestamp() - interval '30 days' order by o.expires_at limit p_limit
  );
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
