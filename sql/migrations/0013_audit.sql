-- What was done by right of an office, for ever: who, when, to what.

create table rustygpt.audit_log (
  id uuid constraint audit_log_pkey primary key default rustygpt.new_uuid(),
  at timestamptz not null default clock_timestamp(),
  actor_id uuid constraint audit_log_actor_id_fkey references rustygpt.users on delete set null,
  action text not null constraint audit_log_action check (action ~ '^[a-z_]+(\.[a-z_]+)+$'),
  subject text not null,
  details jsonb not null
);
create index audit_log_actor_id_idx on rustygpt.audit_log (actor_id, id);
comment on column rustygpt.audit_log.subject is 'the id of what it was done to';
comment on column rustygpt.audit_log.details is 'what changed, never a secret';
