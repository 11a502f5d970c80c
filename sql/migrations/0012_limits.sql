-- How often somebody may ask: profiles, where they apply, and what has been taken.

create table rustygpt.limit_profiles (
  id uuid constraint limit_profiles_pkey primary key default rustygpt.new_uuid(),
  name text not null constraint limit_profiles_name_key unique constraint limit_profiles_name check (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
  requests integer not null constraint limit_profiles_requests check (requests between 1 and 1000000),
  per_seconds integer not null constraint limit_profiles_per_seconds check (per_seconds between 1 and 86400),
  burst integer not null constraint limit_profiles_burst check (burst between 1 and 1000000),
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp()
);
comment on table rustygpt.limit_profiles is 'GCRA: on average `requests` in `per_seconds`, at most `burst` of them at once';

create table rustygpt.limit_assignments (
  id uuid constraint limit_assignments_pkey primary key default rustygpt.new_uuid(),
  profile_id uuid not null constraint limit_assignments_profile_id_fkey references rustygpt.limit_profiles,
  method text not null constraint limit_assignments_method check (method in ('*', 'GET', 'POST', 'PUT', 'PATCH', 'DELETE')),
  route text not null constraint limit_assignments_route check (route ~ '^/[^ ?#]{0,255}$'),
  counted_by text not null constraint limit_assignments_counted_by check (counted_by in ('user', 'ip')),
  created_at timestamptz not null default clock_timestamp(),
  constraint limit_assignments_route_key unique (route, method)
);
create index limit_assignments_profile_id_idx on rustygpt.limit_assignments (profile_id);
comment on column rustygpt.limit_assignments.route is 'a template such as /api/messages/{message_id}, or a beginning followed by *';
comment on column rustygpt.limit_assignments.counted_by is 'ip: the address; user: the user, or the address of who is not signed in';

-- Bumped with every change of the two, so that processes see in one look whether they must read them again.
create table rustygpt.limit_version (
  is_only boolean constraint limit_version_pkey primary key default true constraint limit_version_is_only check (is_only),
  version bigint not null default 1
);
insert into rustygpt.limit_version default values;

-- The theoretical arrival time of each subject's next request. Not worth a write-ahead log: after a crash everybody starts afresh.
create unlogged table rustygpt.limit_states (
  profile_id uuid not null,
  subject text not null,
  arrival_at timestamptz not null,
  constraint limit_states_pkey primary key (profile_id, subject)
);

-- Wrong passwords, by account and network: who guesses must wait longer and longer, and nobody else.
create unlogged table rustygpt.login_failures (
  subject bytea constraint login_failures_pkey primary key,
  failures integer not null,
  retry_at timestamptz not null
);
comment on column rustygpt.login_failures.subject is 'SHA-256 of address and network: unknown addresses are counted too, and none is stored';

insert into rustygpt.limit_profiles (name, requests, per_seconds, burst) values
  ('sign-in', 60, 60, 100),
  ('posting', 600, 60, 600);
insert into rustygpt.limit_assignments (profile_id, method, route, counted_by)
select p.id, 'POST', r.route, 'ip'
from rustygpt.limit_profiles p, unnest(array['/api/auth/login', '/api/auth/register', '/api/setup']) as r (route)
where p.name = 'sign-in';
