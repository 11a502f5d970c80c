-- Settings that an administrator has changed while the server ran. They hold until the configuration itself is edited.

create table rustygpt.runtime_settings (
  key text constraint runtime_settings_pkey primary key constraint runtime_settings_key check (key ~ '^[a-z_]+(\.[a-z_]+)+$'),
  value jsonb not null,
  configured jsonb not null,
  changed_at timestamptz not null default clock_timestamp(),
  changed_by uuid constraint runtime_settings_changed_by_fkey references rustygpt.users on delete set null
);
create index runtime_settings_changed_by_idx on rustygpt.runtime_settings (changed_by);
comment on column rustygpt.runtime_settings.configured is
  'what flags, environment and file said when it was changed; a start that finds them saying something else forgets the change';
