-- How much a person may have models write in a period, and what of it is taken.

-- One row for ever: what holds for everybody who has no terms of their own. Every start writes the settings here.
create table rustygpt.quota_terms (
  is_only boolean constraint quota_terms_pkey primary key default true constraint quota_terms_is_only check (is_only),
  generations bigint constraint quota_terms_generations check (generations >= 0),
  tokens bigint constraint quota_terms_tokens check (tokens >= 0),
  period_seconds double precision not null default 86400 constraint quota_terms_period check (period_seconds > 0),
  reply_tokens integer not null default 1000 constraint quota_terms_reply_tokens check (reply_tokens >= 0),
  prompt_characters integer not null default 24000 constraint quota_terms_prompt_characters check (prompt_characters > 0)
);
comment on column rustygpt.quota_terms.generations is 'in a period; null is as many as one likes, as for tokens';
comment on column rustygpt.quota_terms.reply_tokens is 'reserved for an answer that nobody has written yet';
comment on column rustygpt.quota_terms.prompt_characters is 'how much of a thread a model is given at most';
insert into rustygpt.quota_terms default values;

create table rustygpt.quota_overrides (
  user_id uuid constraint quota_overrides_pkey primary key
    constraint quota_overrides_user_id_fkey references rustygpt.users on delete cascade,
  generations bigint constraint quota_overrides_generations check (generations >= 0),
  tokens bigint constraint quota_overrides_tokens check (tokens >= 0),
  updated_at timestamptz not null default clock_timestamp()
);
comment on table rustygpt.quota_overrides is 'terms of one person, in place of quota_terms as a whole; null is no limit';

-- The period that runs, or ran last, of each person: it begins with the first reservation after the one before has ended.
create table rustygpt.quota_periods (
  user_id uuid constraint quota_periods_pkey primary key
    constraint quota_periods_user_id_fkey references rustygpt.users on delete cascade,
  started_at timestamptz not null default '-infinity',
  generations bigint not null default 0,
  tokens bigint not null default 0
) with (fillfactor = 50);
comment on column rustygpt.quota_periods.generations is 'used, beside the rows of quota_reservations that are not added here yet; as tokens';

-- What is taken before a model is asked. Settled by whoever ends the work, without a lock that others want; the next reservation of the
-- same person, which holds the period's row, adds settled rows to the period and deletes them.
create table rustygpt.quota_reservations (
  id uuid constraint quota_reservations_pkey primary key default rustygpt.new_uuid(),
  user_id uuid not null constraint quota_reservations_user_id_fkey references rustygpt.users on delete cascade,
  period_started_at timestamptz not null,
  message_id uuid,
  generations integer not null default 1,
  tokens bigint not null,
  prior_characters integer not null default 0,
  is_settled boolean not null default false,
  expires_at timestamptz,
  constraint quota_reservations_bound check ((message_id is null) = (expires_at is not null))
) with (fillfactor = 50);
create index quota_reservations_user_id_idx on rustygpt.quota_reservations (user_id);
create unique index quota_reservations_message_key on rustygpt.quota_reservations (message_id) where not is_settled;
comment on column rustygpt.quota_reservations.message_id is 'the reply whose end settles it; null where somebody promised to do so by expires_at';
comment on column rustygpt.quota_reservations.tokens is 'an estimate, and what was used once it is settled; as generations, which is 0 for what never began';
comment on column rustygpt.quota_reservations.prior_characters is 'of a reply that goes on: what was written, and settled, before';
comment on column rustygpt.quota_reservations.expires_at is 'from then on it counts as it stands';
