-- A log that need not outlive the process (sse.persistence.enabled = false), and unread counts without a sum over all threads.

alter table rustygpt.event_head add column is_kept boolean not null default true;
comment on column rustygpt.event_head.is_kept is
  'false: event_log and stream_heads are unlogged tables, emptied at each start of the server and by each crash of PostgreSQL';

create unlogged table rustygpt.log_witness (
  singleton boolean constraint log_witness_pkey primary key default true constraint log_witness_singleton check (singleton)
);
comment on table rustygpt.log_witness is
  'its one row is there as long as a log that is not kept is whole: a crash of PostgreSQL empties both';

alter table rustygpt.members add column read_total bigint;
comment on column rustygpt.members.read_total is
  'the sum of the member''s read marks in the conversation; null: not summed up yet. What is unread is conversations.last_seq less this';
