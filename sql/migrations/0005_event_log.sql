-- The event log: dense positions in commit order, because each append locks the one head row as the last thing it does.

create table rustygpt.event_head (
  singleton boolean constraint event_head_pkey primary key default true constraint event_head_singleton check (singleton),
  epoch text not null constraint event_head_epoch check (epoch ~ '^[a-z0-9]{4,12}$'),
  position bigint not null default 0,
  first_position bigint not null default 1,
  last_at timestamptz not null default clock_timestamp(),
  system_identifier bigint not null,
  timeline integer not null
) with (fillfactor = 10);
comment on column rustygpt.event_head.epoch is 'changes when history is not the one that clients read (a restored backup)';
comment on column rustygpt.event_head.first_position is 'events before it have been pruned';

create table rustygpt.event_log (
  position bigint constraint event_log_pkey primary key,
  prev bigint not null,
  conversation_id uuid,
  audience_user_id uuid,
  type text not null,
  root_id uuid,
  parent_id uuid,
  message_id uuid,
  idx integer,
  content text,
  payload jsonb,
  created_at timestamptz not null,
  constraint event_log_delta check ((type = 'message.delta') = (idx is not null and content is not null))
);
create index event_log_conversation_idx on rustygpt.event_log (conversation_id, position);
create index event_log_audience_idx on rustygpt.event_log (audience_user_id, position) where audience_user_id is not null;
create unique index event_log_delta_key on rustygpt.event_log (message_id, idx) where type = 'message.delta';
create unique index event_log_done_key on rustygpt.event_log (message_id) where type = 'message.done';
comment on table rustygpt.event_log is 'no foreign keys: it is written thousands of times a second and outlives what it tells of';

-- The newest position of each conversation and of each user's personal events. Only touched while the head row is locked.
create table rustygpt.stream_heads (
  stream_id uuid constraint stream_heads_pkey primary key,
  position bigint not null
) with (fillfactor = 50);

insert into rustygpt.event_head (epoch, system_identifier, timeline)
select substr(md5(gen_random_uuid()::text), 1, 6), s.system_identifier, c.timeline_id
from pg_control_system() s, pg_control_checkpoint() c;
