-- The model library: which files came from where, and pulls that outlive the process that runs them. And how a conversation samples.

create table rustygpt.model_files (
  name text constraint model_files_pkey primary key,
  source text not null,
  sha256 text not null,
  size_bytes bigint not null,
  details jsonb not null,
  added_by uuid constraint model_files_added_by_fkey references rustygpt.users on delete set null,
  added_at timestamptz not null default clock_timestamp()
);
create index model_files_added_by_idx on rustygpt.model_files (added_by);
comment on table rustygpt.model_files is 'what is known of files that came through the library; the folder says which there are';
comment on column rustygpt.model_files.name is 'the file''s name without .gguf';

create table rustygpt.model_jobs (
  id uuid constraint model_jobs_pkey primary key default rustygpt.new_uuid(),
  kind text not null constraint model_jobs_kind check (kind in ('file', 'ollama')),
  source text not null,
  url text not null,
  provider text not null,
  model text not null,
  expected_sha256 text,
  state text not null default 'queued' constraint model_jobs_state check (state in ('queued', 'running', 'done', 'error', 'cancelled')),
  bytes_done bigint not null default 0,
  bytes_total bigint,
  validator text,
  code text,
  message text not null default '',
  attempts integer not null default 0,
  owner text,
  fence bigint not null default 0,
  lease_until timestamptz,
  cancel_requested_at timestamptz,
  requested_by uuid constraint model_jobs_requested_by_fkey references rustygpt.users on delete set null,
  created_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  finished_at timestamptz
) with (fillfactor = 50);
create unique index model_jobs_open_key on rustygpt.model_jobs (provider, model) where state in ('queued', 'running');
create index model_jobs_requested_by_idx on rustygpt.model_jobs (requested_by);
create index model_jobs_finished_idx on rustygpt.model_jobs (finished_at);
comment on column rustygpt.model_jobs.source is 'what was asked for, as people see it: without what follows a ? in an address';
comment on column rustygpt.model_jobs.url is 'where it is fetched; it may hold a signature, so nobody is shown it';
comment on column rustygpt.model_jobs.bytes_done is 'of a file: so many bytes are on the disk, whatever happens';
comment on column rustygpt.model_jobs.validator is 'the ETag or Last-Modified under which those bytes were sent; null: they cannot be continued';
comment on column rustygpt.model_jobs.attempts is 'claims since bytes_done last grew';
comment on column rustygpt.model_jobs.fence is 'raised by each claim: whoever has an older one has lost the job';

create table rustygpt.model_version (
  is_only boolean constraint model_version_pkey primary key default true constraint model_version_is_only check (is_only),
  version bigint not null default 1
);
insert into rustygpt.model_version default values;

alter table rustygpt.conversations add column parameters jsonb not null default '{}'
  constraint conversations_parameters check (jsonb_typeof(parameters) = 'object');
comment on column rustygpt.conversations.parameters is 'how its model samples: temperature, top_p, max_tokens, stop, seed, …; what is absent is the model''s own';
