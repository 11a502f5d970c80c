-- Alternative replies to one message, who deleted a message, and what a prompt held of the conversation.

alter table rustygpt.messages
  add column sibling_index integer not null default 0,
  add column deleted_by uuid constraint messages_deleted_by_fkey references rustygpt.users;
comment on column rustygpt.messages.sibling_index is
  'of a reply: its place from 0 among the assistant''s replies to the same message, by seq; 0 for what people wrote';
create index messages_deleted_by_idx on rustygpt.messages (deleted_by) where deleted_by is not null;

-- There was no way to make a second one until now; should there be any all the same, they are numbered.
update rustygpt.messages m set sibling_index = o.place
from (
  select x.id, row_number() over (partition by x.parent_id order by x.seq) - 1 as place
  from rustygpt.messages x where x.role = 'assistant'
) o
where o.id = m.id and o.place > 0;
create unique index messages_siblings_key on rustygpt.messages (parent_id, sibling_index) where role = 'assistant';

alter table rustygpt.generations add column context jsonb;
comment on column rustygpt.generations.context is
  'what the prompt of the last attempt held: budget_tokens (null: not known), prompt_tokens, is_estimated, left_out, oldest_id';
