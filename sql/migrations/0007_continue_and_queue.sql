-- Continuing a reply, and a queue that is bounded and tells everybody their place.

alter table rustygpt.generations
  add column attempt integer not null default 1,
  add column kept_idx integer not null default 0,
  add column queued_at timestamptz not null default clock_timestamp(),
  add column told_model text,
  add column prior_prompt_tokens integer,
  add column prior_completion_tokens integer;
comment on column rustygpt.generations.attempt is 'from 1; raised by each continuing. Each attempt has its own last word';
comment on column rustygpt.generations.kept_idx is
  'chunks below it are in messages.content, the others in event_log alone: the text is the former followed by the latter';
comment on column rustygpt.generations.told_model is 'which model the last message.done named, of a reply that goes on';
comment on column rustygpt.generations.prior_prompt_tokens is 'of the attempts before this one, as prior_completion_tokens; usage is the sum';

update rustygpt.generations set queued_at = created_at, kept_idx = case when state in ('queued', 'running') then 0 else next_idx end;
comment on column rustygpt.messages.content is
  'of a reply: what its chunks said, as far as generations.kept_idx; the rest of one under way is the deltas in event_log';

-- The queue by age; who has how many waiting and running; how long the last ones took.
drop index rustygpt.generations_open_idx;
create index generations_open_idx on rustygpt.generations (state, queued_at) where state in ('queued', 'running');
create index generations_open_by_user_idx on rustygpt.generations (requested_by, state) where state in ('queued', 'running');
create index generations_finished_idx on rustygpt.generations (finished_at) where state in ('done', 'length');

-- When places in the queue were last told: once a second at the most, whichever process does it.
create table rustygpt.queue_board (
  singleton boolean constraint queue_board_pkey primary key default true constraint queue_board_singleton check (singleton),
  told_at timestamptz not null default '-infinity'
) with (fillfactor = 10);
insert into rustygpt.queue_board default values;

-- One last word for each attempt.
drop index rustygpt.event_log_done_key;
create unique index event_log_done_key on rustygpt.event_log (message_id, (coalesce((payload ->> 'attempt')::integer, 1)))
  where type = 'message.done';
